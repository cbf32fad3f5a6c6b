"""Run the commands of a page as printed: `python -m tests.docs.tutorial` runs those of the tutorial
and replaces the output that the page shows, and its pictures.

The blocks of a page run in order, in one folder. A job that the page asks to save is saved. `...`
stands for lines that are left out. Ids of jobs in commands are those that earlier commands printed.
"""

import difflib
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tests.docs.blocks import FENCE, ROOT, Block, blocks

PAGE = ROOT / "docs" / "tutorial.md"
JOB = re.compile(r"job-[0-9a-z]{26}")
SAVED = re.compile(r"`([\w.-]+\.yaml)`:\n+$")
PROGRESS = re.compile(r": (queued|running|succeeded)( \||$)")  # lines that depend on timing
RECORDED_ON = "AVX512"  # the instructions of the processor that printed the page's numbers
LAST = "telescope submit"  # in the last line that a service prints when it is ready
TIMES = re.compile(r"\d[\d.,]* (?:h|min|s|trials/min)\b")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
SECONDS = 600.0
LIKE = 0.6  # least similarity of a line to the one that replaces it


@dataclass(frozen=True)
class Command:
    """A command with the lines of output that the page shows."""

    text: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Done:
    command: Command
    output: tuple[str, ...]
    status: int


def commands(block: Block) -> Iterator[Command]:
    prompt, *parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert not prompt, f"{block}: the block does not begin with a command"
    for part in parts:
        text, *shown = part.rstrip("\n").split("\n")
        yield Command(text, tuple(shown))


def run(page: Path, folder: Path) -> Iterator[Done]:
    """Run the commands of a page, as they come."""
    ids: dict[str, str] = {}
    last_status = 0
    text = page.read_text()
    saved = {
        text.count("\n", 0, found.start("language")) + 1: SAVED.search(text[: found.start()])
        for found in FENCE.finditer(text)
    }
    with ExitStack() as services:
        for block in blocks(page):
            if (name := saved[block.line]) and block.language == "yaml":
                (folder / name[1]).write_text(block.text)
            for command in (
                commands(block) if block.language == "console" and not block.reason else ()
            ):
                done = execute(command, with_ids(command.text, ids), folder, services, last_status)
                last_status = done.status
                new = [job_id for job_id in job_ids(done.output) if job_id not in ids.values()]
                unseen = [job_id for job_id in job_ids(command.shown) if job_id not in ids]
                ids |= dict(zip(unseen, new, strict=False))
                yield as_printed(done, folder, ids)


def with_ids(text: str, ids: dict[str, str]) -> str:
    """A command with the ids of this run in place of the page's."""
    return JOB.sub(lambda found: ids.get(found[0], found[0]), text)


def job_ids(lines: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(JOB.findall("\n".join(lines))))


def as_printed(done: Done, folder: Path, ids: dict[str, str]) -> Done:
    """The output with the ids, the folder and the address that the page has."""
    port = environment(folder)["TELESCOPE_PORT"]
    changes = {str(folder): "/home/you/tutorial", f"127.0.0.1:{port}": "127.0.0.1:8765"}
    changes |= {actual: shown for shown, actual in ids.items()}
    text = "\n".join(done.output)
    for actual, shown in changes.items():
        text = text.replace(actual, shown)
    return replace(done, output=tuple(text.splitlines()))


def execute(
    command: Command, text: str, folder: Path, services: ExitStack, last_status: int
) -> Done:
    if text.endswith(" &"):
        return Done(
            command, tuple(services.enter_context(background(text.removesuffix(" &"), folder))), 0
        )
    if text == "echo $?":
        return Done(command, (str(last_status),), 0)
    shell = ["bash", "-c", text]
    done = subprocess.run(
        shell,
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    return Done(command, tuple(line.rstrip() for line in done.stdout.splitlines()), done.returncode)


def environment(folder: Path) -> dict[str, str]:
    """The environment of a reader: `telescope` and `python3` are those of this installation."""
    programs = folder.parent / f"{folder.name}-bin"
    if not programs.exists():
        programs.mkdir()
        for name, started in (
            ("telescope", f"{sys.executable} -m api.cli"),
            ("python3", sys.executable),
        ):
            (programs / name).write_text(f'#!/bin/sh\nexec {started} "$@"\n')
            (programs / name).chmod(0o755)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            (programs / "port").write_text(str(free.getsockname()[1]))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TELESCOPE_")}
    return clean | {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{clean['PATH']}",
        "PYTHONPATH": f"{ROOT}:{clean.get('PYTHONPATH', '')}",
        "TELESCOPE_HOME": str(folder / "home"),
        "TELESCOPE_PORT": (programs / "port").read_text(),
        "TELESCOPE_COMPILE": "never",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "120",
    }


@contextmanager
def background(text: str, folder: Path) -> Iterator[list[str]]:
    """Run a service, and yield what it prints until it is ready."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {text}"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines: list[str] = []
        while (line := process.stdout.readline()) and LAST not in line:
            lines.append(line.rstrip())
        yield [*lines, line.rstrip()]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def masked(line: str) -> str:
    """A line without what differs from run to run: numbers, units of amounts, ids, paths, widths of
    columns."""
    line = JOB.sub("JOB", re.sub(r"/\S*/", "/", line))
    return re.sub(r"\s+", " ", re.sub(r"[-+±]*\d[\d.,e-]*( [kMGT]\b)?", "#", line)).strip()


def numbers(line: str) -> list[float]:
    """The numbers of a line that do not depend on time, job or folder."""
    line = TIMES.sub("", JOB.sub("", re.sub(r"/\S*/", "/", line)))
    return [float(number.replace(",", "")) for number in NUMBER.findall(line)]


def alike(shown: str, printed: str) -> bool:
    """Whether two lines differ only in times, ids and paths, and in numbers by at most 3 %."""
    pair = numbers(shown), numbers(printed)
    return masked(shown) == masked(printed) and all(
        math.isclose(a, b, rel_tol=0.03, abs_tol=0.005) for a, b in zip(*pair, strict=False)
    )


def steady(done: Done) -> list[str]:
    """Lines of the page that every run of the command prints."""
    return [
        line
        for line in done.command.shown
        if line.strip() not in ("", "...") and not PROGRESS.search(line)
    ]


def unlike(done: Done) -> list[str]:
    """Lines of the page that the command did not print."""
    lines = steady(done)
    return [line for line in lines if not any(alike(line, printed) for printed in done.output)]


def unlike_in_form(done: Done) -> list[str]:
    """Lines of the page that the command did not print, whatever their numbers are."""
    forms = {masked(printed) for printed in done.output}
    return [line for line in steady(done) if masked(line) not in forms]


def is_recorded_processor() -> bool:
    """True if losses should equal those of the page.

    Muon's bfloat16 amplifies the last bits of a loss, in which kinds of processor differ. On
    another kind, so small a job has another answer, and perhaps another verdict.
    """
    return torch.backends.cpu.get_cpu_capability() == RECORDED_ON


def renewed(done: Done) -> list[str]:
    """The command and the shown lines, each replaced by the line of the output that resembles it
    most, in the order of the output."""
    lines, left = [f"$ {done.command.text}"], list(done.output)
    for line in done.command.shown:
        found, left = (line, left) if line in ("", "...") else closest(line, left)
        lines.append(found)
    return lines


def closest(line: str, output: list[str]) -> tuple[str, list[str]]:
    """The most similar line, and the lines after it; the line itself if none resembles it."""

    def likeness(other: str) -> tuple[float, float]:
        return similarity(masked(line), masked(other)), similarity(line, other)

    best = max(range(len(output)), key=lambda i: likeness(output[i]), default=None)
    if best is None or likeness(output[best])[0] < LIKE:
        return line, output
    return output[best], output[best + 1 :]


def similarity(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def main() -> None:
    """Replace the output that the tutorial shows by that of a new run."""
    if not is_recorded_processor():
        sys.exit(f"The page's numbers are those of a processor with {RECORDED_ON}; use such a one.")
    text = PAGE.read_text()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "tutorial"
        folder.mkdir()
        for done in run(PAGE, folder):
            if done.output:
                text = text.replace(
                    "\n".join([f"$ {done.command.text}", *done.command.shown]),
                    "\n".join(renewed(done)),
                )
            print(done.status, done.command.text, flush=True)
        for picture in folder.glob("*.png"):
            shutil.copy(picture, PAGE.with_suffix("") / picture.name)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
