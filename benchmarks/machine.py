"""A line of text that describes the machine, the software and the commit.

Benchmarks print it above their tables.
"""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch


def describe() -> str:
    """The line: the GPU, or the processor and its cores; versions of packages; the commit."""
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{cores()} cores of {processor()}"
    )
    packages = [f"{name} {version(name)}" for name in ("torch", "numpy", "ray") if installed(name)]
    software = ", ".join([f"Python {platform.python_version()}", *packages])
    return f"{device}; {software}; commit {commit()}."


def cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def processor() -> str:
    """The name of the processor, as the operating system reports it."""
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
    """The commit of this checkout, with the words "with changes" if there are uncommitted changes.

    Returns "unknown" if git or the repository is missing.
    """

    def git(*arguments: str) -> str:
        try:
            process = subprocess.run(
                ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True
            )
        except OSError:  # git is not installed
            return ""
        return process.stdout.strip() if process.returncode == 0 else ""

    changes = " with changes" if git("status", "--porcelain", "-uno") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changes
