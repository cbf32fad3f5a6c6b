"""Files of the commit before the restructuring are still read: specs, a database, caches.

The files, among them a checkpoint, are in `tests/files/before_restructuring`; its README tells how
they were made. Words of texts for people may have changed since; every number and code must be
equal.
"""

import gzip
import json
import math
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from telescope.train import train_one
from telescope.train.checkpoint import CheckpointFile
from telescope.trials.spec import TrialSpec
from tests.files.installation import TEXT, Installation, ended, get, told

FOLDER = Path(__file__).parent / "files" / "before_restructuring"
CHECKOUT = Path(__file__).parents[1]
SPEC = TypeAdapter(TrialSpec)
OF_THE_RUN = ("id", "seconds", "worker", "attempt", "flops_spent", "_at", "version", "numerics")
ROUNDING = 2e-3  # of a loss, on another kind of processor: as for the golden losses


def read(name: str) -> Any:
    return json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))


@dataclass(frozen=True)
class Before:
    """A copy of the old TELESCOPE_HOME, and the old output about it."""

    installation: Installation
    told: dict[str, Any]  # by the job's name
    tokens: dict[Path, int]  # times of change of the cached tokens


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Before:
    home = tmp_path_factory.mktemp("before")
    with tarfile.open(FOLDER / "home.tar.gz") as archive:
        archive.extractall(home, filter="data")
    installation = Installation(CHECKOUT, home)
    installation.place_text(FOLDER / TEXT)
    installation.run("migrate")
    return Before(installation, {one["job"]["name"]: one for one in read("told")}, cached(home))


@pytest.fixture(scope="module")
def http(before: Before) -> Iterator[httpx.Client]:
    """Today's api on the old TELESCOPE_HOME, without a coordinator."""
    with before.installation.api() as http:
        yield http


@pytest.fixture
def at_home(before: Before, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process with the old TELESCOPE_HOME."""
    monkeypatch.setenv("TELESCOPE_HOME", str(before.installation.home))
    monkeypatch.chdir(before.installation.home)
    return before.installation.home


def cached(home: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in (home / "tokens").rglob("*")}


def differences(was: Any, now: Any, path: str = "") -> Iterator[str]:
    """Places where today's output lacks something of the old, or has another number or code."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key, value in was.items():
            if key in now:
                yield from differences(value, now[key], f"{path}.{key}")
            else:
                yield f"{path}.{key} is gone"
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for index, (one, other) in enumerate(zip(was, now, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif isinstance(was, str) and " " in was:
        if not (isinstance(now, str) and now):
            yield f"{path} has no words: {now!r}"
    elif was != now:
        yield f"{path}: {was!r} -> {now!r}"


def without_the_run(document: Any) -> Any:
    """A document without the values that differ between two runs of one job."""
    if isinstance(document, dict):
        return {
            key: without_the_run(value)
            for key, value in document.items()
            if not key.endswith(OF_THE_RUN)
        }
    return (
        [without_the_run(value) for value in document] if isinstance(document, list) else document
    )


def test_stored_specs_keep_their_digests() -> None:
    stored = read("specs")
    assert len({one["digest"] for one in stored}) >= 60
    for one in stored:
        spec = SPEC.validate_json(json.dumps(one["spec"]))
        assert spec.digest == one["digest"], one["spec"]
        assert list(differences(one["spec"], SPEC.dump_python(spec, mode="json"))) == []


def test_every_job_trial_curve_and_report_is_told_as_it_was(
    before: Before, http: httpx.Client
) -> None:
    for name, was in before.told.items():
        now = told(http, was["job"]["id"])
        assert list(differences(was, now)) == [], name
    assert len(get(http, "/v1/jobs")["items"]) == len(before.told)


@pytest.mark.parametrize("name", ["batches", "variants"])
def test_an_old_answer_is_shown_at_a_terminal(
    name: str, before: Before, http: httpx.Client
) -> None:
    was = before.told[name]
    status, shown = before.installation.result(was["job"]["id"], str(http.base_url))
    assert status == (0 if was["report"]["verdict"] == "resolved" else 1), shown
    assert was["report"]["verdict"] in shown


def test_a_checkpoint_is_taken_up_where_it_was_left(
    before: Before, http: httpx.Client, at_home: Path
) -> None:
    running = interrupted_trial(before)
    spec = SPEC.validate_python(get(http, f"/v1/trials/{running['id']}")["spec"])
    assert spec.digest == running["digest"]
    copy = at_home / "copy.pt"
    copy.write_bytes(checkpoint(at_home, running).read_bytes())
    file = CheckpointFile(copy)
    curve = list(train_one(spec, file))
    assert running["steps"] > file.step > 0
    assert curve[0].step > file.step
    whole = {trial["digest"]: trial for trial in read("whole")["trials"]}
    assert curve[-1].metrics["loss"] == pytest.approx(whole[spec.digest]["loss"], rel=ROUNDING)


def test_an_interrupted_job_goes_on_to_the_answer_that_it_has_undisturbed(
    before: Before, http: httpx.Client
) -> None:
    running, whole, job_id = (
        interrupted_trial(before),
        read("whole"),
        before.told["interrupted"]["job"]["id"],
    )
    with before.installation.coordinator():
        assert ended(http, job_id)["state"] == "SUCCEEDED"
    now = told(http, job_id)
    was_of, now_of = ({trial["digest"]: trial for trial in each["trials"]} for each in (whole, now))
    assert was_of.keys() == now_of.keys()
    for digest, was in was_of.items():
        assert now_of[digest]["loss"] == pytest.approx(was["loss"], rel=ROUNDING)
        assert [now_of[digest][key] for key in ("state", "step", "flops")] == [
            was[key] for key in ("state", "step", "flops")
        ]
    resumed = now_of[running["digest"]]
    assert resumed["attempt"] == running["attempt"] + 1
    assert resumed["flops_spent"] - running["flops_spent"] < 0.8 * resumed["flops"], (
        "it began again at step 0"
    )
    kept = [
        trial for trial in before.told["interrupted"]["trials"] if trial["state"] == "COMPLETED"
    ]
    assert kept == [{key: now_of[trial["digest"]][key] for key in trial} for trial in kept]
    begun_today = now_of.keys() - {running["digest"]} - {trial["digest"] for trial in kept}
    if all(
        now_of[digest]["loss"] == was_of[digest]["loss"] for digest in begun_today
    ):  # the same kind of processor: to the last bit
        assert list(differences(*map(without_the_run, (whole["report"], now["report"])))) == []
        assert by_digest(whole, "train_loss") == by_digest(now, "train_loss")
    assert now["report"]["verdict"] == whole["report"]["verdict"]
    assert lr_of(now) == pytest.approx(lr_of(whole), rel=0.05)
    assert not list((before.installation.home / "checkpoints").rglob("*.pt")), (
        "checkpoints outlive their job"
    )


def test_token_caches_are_used_as_they_lie(before: Before, http: httpx.Client) -> None:
    """Also tested by all tests above, which read the corpus here or in a coordinator."""
    for was in before.told.values():
        answer = http.post("/v1/jobs:preview", json=was["job"]["study"])
        assert answer.status_code == 200, answer.text
    assert cached(before.installation.home) == before.tokens


def interrupted_trial(before: Before) -> Any:
    (running,) = [
        trial for trial in before.told["interrupted"]["trials"] if trial["state"] == "RUNNING"
    ]
    return running


def checkpoint(home: Path, trial: Any) -> Path:
    return home / "checkpoints" / str(trial["job_id"]) / f"{trial['digest']}.pt"


def by_digest(document: Any, metric: str) -> dict[str, Any]:
    """A column of each trial's curve."""
    return {
        trial["digest"]: curve["metrics"][metric]
        for trial, curve in zip(document["trials"], document["curves"], strict=True)
    }


def lr_of(document: Any) -> float:
    """The learning rate of the result."""
    lr = document["report"]["ladders"][0]["hyperparameters"]["lr"]["value"]
    assert math.isfinite(lr)
    return float(lr)
