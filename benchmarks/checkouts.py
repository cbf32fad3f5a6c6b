"""Run the commands and the service of one checkout, and collect their output.

A checkout is a folder with the code of telescope at some commit. A case is a job or a command that
runs in both of the checkouts that are compared. The output of a case is a set of named JSON
documents and texts, so that the outputs of two commits can be compared (`benchmarks.comparison`).

This process imports nothing of the checkout. The checkout's `telescope` command runs in separate
processes, with the same Python interpreter and with the checkout as PYTHONPATH and as working
directory. Each process has one thread and compiles nothing. Each case has a new data folder
(TELESCOPE_HOME).
"""

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

READY_SECONDS = 120.0
END_SECONDS = 60.0
POLL_SECONDS = 0.5
TERMINAL = {"SUCCEEDED", "FAILED", "CANCELLED"}
PAGE_SIZE = 1000
SETTINGS = {
    "TELESCOPE_COMPILE": "never",  # losses of compiled programs differ by rounding
    "TELESCOPE_FACTORIES": "huggingface:*",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "COLUMNS": "200",  # wide enough that no line is wrapped
    "NO_COLOR": "1",
}


@dataclass(frozen=True)
class Case:
    """A command or a job that both checkouts run."""

    name: str
    file: str  # name in the checkout's folder of examples; empty if the case needs no file
    targets: tuple[float, ...] = ()  # target losses for which the tables of the job are requested


CASES = (
    Case("quickstart", "quickstart.yaml"),
    Case("compute_time", "compute_time.yaml", targets=(2.3, 2.1)),
    Case("llama", "llama.yaml"),
    Case("judge", "sweep.csv"),
    Case("refused", ""),
)

MODEL = {"base_width": 32, "calibration_width": 64, "target_width": 128, "depth": 2, "head_dim": 16}
LADDER: dict[str, Any] = {
    "kind": "telescope",
    "model": MODEL,
    "data": {"corpus": "python-stdlib", "context": 64},
    "horizon": {"steps": 20, "batch_tokens": 512},
    "search": {"lr": {"low": 0.01, "high": 0.1, "points": 4}},
}
BATCHES: dict[str, Any] = {
    "kind": "compute_time",
    "model": {"width": 32},
    "data": {"corpus": "python-stdlib", "context": 64},
    "batch_tokens": [256, 512],
    "runs": {"tokens": 40_000},
    "tuning": {"lr": {"low": 0.01, "high": 0.1, "points": 4}},
}
REFUSED: tuple[Any, ...] = (
    [],
    {"kind": "telescope"},
    LADDER | {"kind": "nothing"},
    LADDER | {"optimiser": "muon", "seeds": 0, "schedule": "papers"},
    LADDER | {"model": MODEL | {"base_width": 40, "calibration_width": 96, "target_width": 64}},
    LADDER | {"model": MODEL | {"preset": "nothing", "depth": "deep"}},
    LADDER | {"model": MODEL | {"preset": "mla", "positions": "learned", "query_heads_per_kv": 2}},
    LADDER | {"model": MODEL | {"target_depth": 4}, "parametrisation": "standard"},
    LADDER
    | {
        "model": {"family": "module", "factory": "nowhere:llama"}
        | {key: MODEL[key] for key in list(MODEL)[:3]}
    },
    LADDER | {"data": {"corpus": "python-stdlibs", "context": 64}},
    LADDER | {"data": {"corpus": "/etc", "context": 64, "tokenizer": "/etc/passwd"}},
    LADDER | {"data": {"corpus": {"python-stdlib": 1, "python-docs": 0}, "context": 64}},
    LADDER | {"horizon": {"steps": 20, "batch_tokens": 500, "micro_batch_tokens": 96}},
    LADDER | {"search": {"lr": {"low": 1.0, "high": 0.1, "points": 1}}},
    LADDER
    | {
        "optimizer_options": {
            "qk_clip_alpha": 0.25,
            "update_scale": "rms_match",
            "muon_lr_rule": "constant",
        }
    },
    LADDER | {"sweep_over": {"model": [{"name": "a"}, {"name": "a", "base_width": 64}]}},
    LADDER | {"limits": {"max_base_runs": 1}, "schedule": "paper", "optimizer": ["muon", "muon"]},
    BATCHES | {"batch_tokens": [100], "target_losses": [-1], "tuning": {"lr": 3}, "seeds": 0},
    BATCHES | {"batch_tokens": [100, 256], "target_losses": [2.0, 2.0]},
    BATCHES
    | {"model": {"width": 30}, "given": [{"optimizer": "muon", "batch_tokens": 256, "lr": 0.1}]},
    BATCHES | {"from_jobs": {"jobs": ["job-0"]}},
)
"""Invalid job documents. The error messages about them are compared."""


@dataclass(frozen=True)
class Observation:
    """The output of a case in one checkout, and its duration.

    `documents` maps names to JSON documents, or to texts that a command printed.
    """

    documents: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Checkout:
    """A folder that holds telescope's code."""

    folder: Path

    @property
    def command(self) -> list[str]:
        """The `telescope` command of this checkout, as its pyproject.toml defines it."""
        scripts = tomllib.loads((self.folder / "pyproject.toml").read_text())["project"]["scripts"]
        module, _, name = scripts["telescope"].partition(":")
        return [
            sys.executable,
            "-c",
            f"import sys; from {module} import {name}; sys.exit({name}())",
        ]

    @property
    def examples(self) -> Path:
        """The folder of example files. In older commits it is at the top level."""
        packaged = self.folder / "api" / "examples"
        return packaged if packaged.exists() else self.folder / "examples"

    def environment(self, home: Path) -> dict[str, str]:
        """The environment variables of the checkout's processes.

        Variables for telescope or Ray that are set in this process are left out.
        """
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TELESCOPE_", "RAY_"))
        }
        paths = {
            "PYTHONPATH": str(self.folder),
            "TELESCOPE_HOME": str(home),
            "TELESCOPE_FACTORY_PATH": str(self.examples),
        }
        return inherited | SETTINGS | paths

    def telescope(self, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one `telescope` command, and wait for its end."""
        return subprocess.run(
            [*self.command, *arguments],
            cwd=self.folder,
            env=self.environment(home),
            capture_output=True,
            text=True,
        )

    def require_own_code(self, home: Path) -> None:
        """Exit with a message if the checkout's processes would import code from elsewhere."""
        script = (
            "import api, telescope, workers; "
            "print(telescope.__file__, api.__file__, workers.__file__)"
        )
        process = subprocess.run(
            [sys.executable, "-c", script],
            cwd=self.folder,
            env=self.environment(home),
            capture_output=True,
            text=True,
            check=True,
        )
        if not all(Path(file).is_relative_to(self.folder) for file in process.stdout.split()):
            raise SystemExit(f"{self.folder} would run other code instead: {process.stdout}")

    @contextmanager
    def serving(self, home: Path, executor: str, workers: int) -> Iterator[httpx.Client]:
        """Start the checkout's service, and yield an HTTP client once the service is ready.

        The service ends when the `with` block ends.
        """
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        options = {"--port": port, "--executor": executor, "--workers": str(workers)}
        command = [*self.command, "serve", *itertools.chain(*options.items())]
        log = home / "service.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment(home), stdout=output, stderr=output
            )
        try:
            url = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=url, timeout=300, trust_env=False) as http:
                _wait_until_ready(http, process, log)
                yield http
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(http: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            if http.get("/readyz").status_code == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"the service did not become ready; its log is:\n{log.read_text()}")


def observe(checkout: Checkout, case: Case, executor: str, workers: int) -> Observation:
    """Run a case in a new data folder, and return its output."""
    home = Path(tempfile.mkdtemp(prefix="telescope-unchanged-"))
    start = time.monotonic()
    try:
        checkout.require_own_code(home)
        if case.name == "judge":
            documents = _judgement_documents(checkout, case, home)
        else:
            with checkout.serving(home, executor, workers) as http:
                documents = (
                    _job_documents(checkout, case, home, http)
                    if case.file
                    else _refusal_documents(http)
                )
        return Observation(documents, round(time.monotonic() - start, 1))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _judgement_documents(checkout: Checkout, case: Case, home: Path) -> dict[str, Any]:
    file = str(checkout.examples / case.file)
    as_json = checkout.telescope(home, "judge", file, "--json")
    as_text = checkout.telescope(home, "judge", file)
    status = {"json": as_json.returncode, "text": as_text.returncode}
    return {"exit_status": status, "report": json.loads(as_json.stdout), "text": as_text.stdout}


def _refusal_documents(http: httpx.Client) -> dict[str, Any]:
    responses = [http.post("/v1/jobs", json=document) for document in REFUSED]
    assert all(response.is_client_error for response in responses), (
        "an invalid document was accepted"
    )
    return {
        "problems": [
            {"http_status": response.status_code, "problem": response.json()}
            for response in responses
        ]
    }


def _job_documents(
    checkout: Checkout, case: Case, home: Path, http: httpx.Client
) -> dict[str, Any]:
    """Submit a job, wait for its end, and collect its trials, its curves, and all its results."""
    body = (checkout.examples / case.file).read_bytes()
    headers = {"Content-Type": "application/yaml"}

    def get(path: str, **parameters: Any) -> Any:
        return http.get(path, params=parameters).raise_for_status().json()

    def post(path: str) -> Any:
        return http.post(path, content=body, headers=headers).raise_for_status().json()

    preview, job = post("/v1/jobs:preview"), post("/v1/jobs")
    path = f"/v1/jobs/{job['id']}"
    while job["state"] not in TERMINAL:
        time.sleep(POLL_SECONDS)
        job = get(path)
    ids = [trial["id"] for trial in _items(get, f"{path}/trials")]
    trials = {trial["digest"]: trial for trial in (get(f"/v1/trials/{number}") for number in ids)}
    documents = {
        "study": job.pop("study"),
        "job": job,
        "preview": preview,
        "report": get(f"{path}/result"),
        "levels": get(f"{path}/levels"),
        "trials": trials,
        "curves": {
            digest: get(f"/v1/trials/{trial['id']}/curve") for digest, trial in trials.items()
        },
    }
    for loss in case.targets:
        for table in ("frontier", "token-ratio", "batch-sizes"):
            documents[f"{table} at {loss:g}"] = get(
                f"{path}/{table}", target_loss=loss, page_size=PAGE_SIZE
            )
    return documents | _command_documents(checkout, home, str(http.base_url), job["id"])


def _command_documents(checkout: Checkout, home: Path, url: str, job_id: str) -> dict[str, Any]:
    """Run the commands that print and export a job's result.

    Returns what the commands print, and their exit statuses.
    """
    result = checkout.telescope(home, "result", job_id, "--url", url)
    exports = {
        form: checkout.telescope(home, "export", job_id, "--to", form, "--url", url)
        for form in ("json", "torch", "megatron")
    }
    status = {"result": result.returncode} | {
        f"export {form}": process.returncode for form, process in exports.items()
    }
    documents: dict[str, Any] = {"exit_status": status, "text": result.stdout}
    for form, process in exports.items():
        documents[f"export {form}"] = process.stdout or process.stderr
    if exports["json"].returncode == 0:
        documents["export json"] = json.loads(exports["json"].stdout)
    return documents


def _items(get: Callable[..., Any], path: str) -> Iterator[Any]:
    token: str | None = ""
    while token is not None:
        page = get(path, page_size=PAGE_SIZE, **({"page_token": token} if token else {}))
        yield from page["items"]
        token = page["next_page_token"]
