"""Make the files that a commit leaves behind: database, checkpoints, token caches, answers.

    python -m tests.files.make CHECKOUT FOLDER

CHECKOUT holds the code of the commit; only its command line, its HTTP and its files are used.
FOLDER gets

    text/           the corpus, from the commit's own decisions
    specs.json.gz   specifications of many kinds with their digests (specs.py)
    home.tar.gz     a TELESCOPE_HOME: database, tokens, the checkpoint of an interrupted trial
    told.json.gz    what its HTTP said of every job in that database
    whole.json.gz   what it said of the interrupted job where nothing interrupted it
"""

import gzip
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.files.installation import (
    CORPUS,
    TEXT,
    Installation,
    ended,
    eventually,
    get,
    submit,
    told,
)

SPECS = Path(__file__).with_name("specs.py")
SHARED: dict[str, Any] = {
    "kind": "telescope",
    "optimizer": "muon",
    "model": {
        "base_width": 8,
        "calibration_width": 16,
        "target_width": 32,
        "depth": 1,
        "head_dim": 8,
        "mlp_ratio": 1,
    },
    "data": {"corpus": CORPUS, "context": 32},
    "horizon": {"steps": 24, "batch_tokens": 64, "evaluation_tokens": 512, "record_every": 6},
    "search": {"lr": {"low": 0.01, "high": 0.3, "points": 4}, "weight_decay": 0.1},
    "limits": {"max_base_runs": 12},
}
FINISHED = SHARED | {"name": "finished", "validate_at_target": True}
FINISHED |= {
    "model": SHARED["model"] | {"target_width": 64}
}  # four widths: enough for the coordinate check
SWEEP = SHARED | {
    "name": "variants",
    "sweep_over": {"model": [{"name": "plain"}, {"name": "tied", "tied_embeddings": True}]},
}
SWEEP |= {"limits": {"max_base_runs": 20}, "coordinates": "skip"}
BATCHES: dict[str, Any] = {
    "kind": "compute_time",
    "name": "batches",
    "model": {"width": 8, "depth": 1, "head_dim": 8, "mlp_ratio": 1},
    "data": {"corpus": CORPUS, "context": 32},
    "batch_tokens": [64, 128],
    "target_losses": [3.2, 3.05],
    "runs": {
        "tokens": 4_000,
        "doublings": 1,
        "reading": "cooldown",
        "lengths": 3,
        "evaluation_tokens": 512,
    },
    "tuning": {
        "lr": {"low": 0.02, "high": 0.08, "points": 3},
        "batch_tokens": [128],
        "extensions": 1,
    },
    "seeds": 2,
}
INTERRUPTED = SHARED | {
    "name": "interrupted",
    "coordinates": "skip",
    "horizon": {"steps": 500, "batch_tokens": 64, "evaluation_tokens": 512, "record_every": 20},
    "search": {"lr": {"low": 0.01, "high": 0.3, "points": 5}, "weight_decay": 0.1},
    "schedule": "paper",  # whose grids follow from which run is best, not from its last digits
    "limits": {"max_parallel": 1},
    "reuse": False,
}
DONE_BEFORE, STEP_BEFORE = 2, 200  # trials and steps after which the coordinator is killed


def main(checkout: Path, folder: Path) -> None:
    """Make everything anew."""
    shutil.rmtree(folder / TEXT, ignore_errors=True)
    (folder / TEXT).mkdir(parents=True)
    for page in sorted((checkout / "docs" / "adr").glob("00[01]*.md"))[1:11]:
        (folder / TEXT / f"{page.name[:4]}.txt").write_bytes(page.read_bytes())
    with tempfile.TemporaryDirectory() as place:
        homes = [Path(place, name) for name in ("home", "whole", "specs")]
        installations = []
        for home in homes:
            home.mkdir()
            installations.append(Installation(checkout, home, checkpoint_seconds=0.05))
            installations[-1].place_text(folder / TEXT)
        written(folder / "specs.json.gz", specs(installations[2]))
        written(folder / "told.json.gz", interrupted(installations[0]))
        written(folder / "whole.json.gz", undisturbed(installations[1]))
        packed(homes[0], folder / "home.tar.gz")


def specs(installation: Installation) -> Any:
    """What specs.py prints in this checkout."""
    checkout = installation.checkout
    paths = (
        checkout,
        checkout / "api" / "examples",
        checkout / "examples",
    )  # the last: in older commits
    environment = installation.environment | {"PYTHONPATH": ":".join(map(str, paths))}
    done = subprocess.run(
        [sys.executable, SPECS],
        cwd=installation.home,
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def interrupted(installation: Installation) -> list[Any]:
    """Finish three jobs, kill the coordinator of a fourth, and return what HTTP says of all."""
    installation.run("migrate")
    with installation.api() as http:
        with installation.coordinator():
            jobs = [submit(http, document) for document in (FINISHED, BATCHES, SWEEP)]
            states = {ended(http, job)["state"] for job in jobs}
            assert states == {"SUCCEEDED"}, states
        with installation.coordinator(ended_by=signal.SIGKILL):
            jobs.append(submit(http, INTERRUPTED))
            eventually(
                lambda: in_the_middle(http, installation.home, jobs[-1]), "a trial is in the middle"
            )
    with installation.api() as http:
        found = [told(http, job) for job in jobs]
    (running,) = [trial for trial in found[-1]["trials"] if trial["state"] == "RUNNING"]
    assert STEP_BEFORE <= running["step"] < running["steps"]
    return found


def in_the_middle(http: Any, home: Path, job_id: str) -> bool:
    """Whether enough has ended, and another trial has come some way and has a checkpoint."""
    trials = get(http, f"/v1/jobs/{job_id}/trials", page_size=1000)["items"]
    if sum(trial["state"] == "COMPLETED" for trial in trials) < DONE_BEFORE:
        return False
    return any(
        trial["state"] == "RUNNING"
        and trial["step"] >= STEP_BEFORE
        and any((home / "checkpoints" / job_id).glob(f"{trial['digest']}*"))
        for trial in trials
    )


def undisturbed(installation: Installation) -> Any:
    """The interrupted job from its beginning to its end."""
    installation.run("migrate")
    with installation.api() as http, installation.coordinator():
        job = submit(http, INTERRUPTED)
        assert ended(http, job)["state"] == "SUCCEEDED"
        return told(http, job)


def written(file: Path, document: Any) -> None:
    """As compressed JSON."""
    file.write_bytes(gzip.compress(json.dumps(document).encode(), mtime=0))


def packed(home: Path, file: Path) -> None:
    """The home without temporary files of its processes and without the text beside it."""
    with sqlite3.connect(home / "telescope.db") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    with tarfile.open(file, "w:gz") as archive:
        for each in sorted(home.rglob("*")):
            name = each.relative_to(home)
            if (
                each.is_file()
                and not re.search(r"-(wal|shm|lock)$|\.log$|\.writing$", each.name)
                and name.parts[0] != TEXT
            ):
                archive.add(each, name)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
