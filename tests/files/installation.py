"""An installation of a checkout, used by command line, HTTP and files alone.

Whatever the modules of that checkout are called: `telescope` is what its pyproject.toml says it is.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

Seen = TypeVar("Seen")
SECONDS = 90.0  # machines that run tests are busy
TEXT = "text"
TABLES = ("frontier", "token-ratio", "batch-sizes")
CORPUS = "adr"
CHANGED_NS = (
    1_700_000_000 * 10**9
)  # the time of change that all texts are given: token caches know them by it


def eventually(look: Callable[[], Seen], what: str) -> Seen:
    """What `look` sees once it sees something."""
    deadline = time.monotonic() + SECONDS
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what}: not within {SECONDS:g} s"
        time.sleep(0.02)
    return seen


@dataclass
class Installation:
    """A home, and the code that works on it."""

    checkout: Path
    home: Path
    checkpoint_seconds: float = 30.0
    port: int = field(init=False)

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def place_text(self, source: Path) -> None:
        """Put the corpus at its registered place, relative to the home, where caches fit it."""
        for file in sorted(source.iterdir()):
            copy = self.home / TEXT / file.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
            os.utime(copy, ns=(CHANGED_NS, CHANGED_NS))
        entry = self.home / "corpora" / f"{CORPUS}.json"
        entry.parent.mkdir(exist_ok=True)
        entry.write_text(json.dumps({"path": TEXT, "text_field": "text"}))

    @property
    def environment(self) -> dict[str, str]:
        """Of its processes: nothing compiled, one thread."""
        own = {
            name: value for name, value in os.environ.items() if not name.startswith("TELESCOPE_")
        }
        return own | {
            "PYTHONPATH": str(self.checkout),
            "TELESCOPE_HOME": str(self.home),
            "TELESCOPE_COMPILE": "never",
            "TELESCOPE_CHECKPOINT_SECONDS": str(self.checkpoint_seconds),
            "OMP_NUM_THREADS": "1",
        }

    def command(self, *arguments: str) -> list[str]:
        """A command of `telescope`."""
        scripts = tomllib.loads((self.checkout / "pyproject.toml").read_text())["project"][
            "scripts"
        ]
        module, _, name = scripts["telescope"].partition(":")
        return [
            sys.executable,
            "-c",
            f"import sys; from {module} import {name}; sys.exit({name}())",
            *arguments,
        ]

    def run(self, *arguments: str) -> str:
        """A command to its end; what it prints."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def result(self, job_id: str, url: str) -> tuple[int, str]:
        """Exit status and text of `telescope result`."""
        command = self.command("result", job_id, "--url", url)
        done = subprocess.run(
            command, cwd=self.home, env=self.environment, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    @contextmanager
    def process(
        self, *arguments: str, ended_by: signal.Signals = signal.SIGTERM
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A command that goes on until the block ends."""
        with (self.home / f"{arguments[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                self.command(*arguments),
                cwd=self.home,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.send_signal(ended_by)
            process.wait(SECONDS)

    @contextmanager
    def api(self) -> Iterator[httpx.Client]:
        """Its HTTP server, without a coordinator."""
        with (
            self.process("api", "--port", str(self.port)),
            httpx.Client(
                base_url=f"http://127.0.0.1:{self.port}", timeout=60, trust_env=False
            ) as http,
        ):
            eventually(lambda: answers(http), "the api answers")
            yield http

    def coordinator(self, ended_by: signal.Signals = signal.SIGTERM) -> Any:
        """A coordinator that trains in its own process."""
        return self.process("coordinator", "--executor", "local", ended_by=ended_by)


def answers(http: httpx.Client) -> bool:
    """Whether the server is up."""
    try:
        return http.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def get(http: httpx.Client, path: str, **parameters: Any) -> Any:
    """The document there."""
    return http.get(path, params=parameters).raise_for_status().json()


def submit(http: httpx.Client, document: Mapping[str, Any]) -> str:
    """Id of the new job."""
    answer = http.post("/v1/jobs", json=document)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def ended(http: httpx.Client, job_id: str) -> Any:
    """The job once it has come to its end."""

    def look() -> Any:
        job = get(http, f"/v1/jobs/{job_id}")
        return job if job["state"] in ("SUCCEEDED", "FAILED", "CANCELLED") else None

    return eventually(look, f"job {job_id} ends")


def told(http: httpx.Client, job_id: str) -> dict[str, Any]:
    """A job as the service describes it: report, trials with curves, tables of a target loss."""
    trials = get(http, f"/v1/jobs/{job_id}/trials", page_size=1000)["items"]
    details = [get(http, f"/v1/trials/{trial['id']}") for trial in trials]
    job = get(http, f"/v1/jobs/{job_id}")
    asked = job["study"].get("target_losses", [])
    return {
        "job": job,
        "report": get(http, f"/v1/jobs/{job_id}/result"),
        "trials": [
            {name: value for name, value in trial.items() if name != "spec"} for trial in details
        ],
        "curves": [get(http, f"/v1/trials/{trial['id']}/curve") for trial in trials],
        "tables": [
            get(http, f"/v1/jobs/{job_id}/{table}", target_loss=loss)
            for loss in asked
            for table in TABLES
        ],
    }
