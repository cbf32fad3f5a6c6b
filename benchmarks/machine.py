"""One line that describes the measured machine, software and commit, for the head of a table."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch


def describe() -> str:
    """Processor or accelerator, versions, commit."""
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{cores()} cores of {processor()}"
    )
    found = [f"{name} {version(name)}" for name in ("torch", "numpy", "ray") if installed(name)]
    return f"{device}; Python {platform.python_version()}, {', '.join(found)}; commit {commit()}."


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def processor() -> str:
    """The processor's name by the kernel."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def installed(name: str) -> bool:
    try:
        return bool(version(name))
    except ModuleNotFoundError:
        return False


def commit() -> str:
    """The commit of this tree, marked if it has uncommitted changes."""

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True
            )
        except OSError:  # a bare machine has no git
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    return (git("rev-parse", "--short", "HEAD") or "unknown") + (
        " with changes" if git("status", "--porcelain", "-uno") else ""
    )
