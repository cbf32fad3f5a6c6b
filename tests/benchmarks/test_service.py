"""Does the benchmark of the service read gaps and ratios as it says, and is its bare loop the reference loop?"""

from typing import Any

import pytest

from benchmarks import service
from benchmarks.service import Ended, Run
from telescope.studies import run
from telescope.train import train_one
from telescope.trial import Measurement, completed

TINY = {
    "horizon": {"steps": 2, "batch_tokens": 128, "evaluation_tokens": 128},
    "search": {"lr": {"low": 0.01, "high": 0.1, "points": 3}},
}


def test_a_gap_lies_between_two_trials_of_one_worker() -> None:
    trials = [Ended("a", 20.0, 9.5), Ended("b", 11.0, 10.0), Ended("a", 10.0, 10.0), Ended("b", 14.0, 2.0), Ended("a", 25.0, 4.75)]
    assert sorted(service.gaps(trials)) == [0.25, 0.5, 1.0]


def job(seconds: float) -> list[Run]:
    return [Run(seconds, seconds, (0.01, 0.02, 0.03), (2.5,))]


@pytest.mark.parametrize(
    ("two_workers", "said"), [(5.2, ["1.020", "pass", "1.040", "pass", "1.962", "pass"]), (6.0, ["1.200", "miss", "1.700", "miss"])]
)
def test_ratios_are_judged_against_the_targets(two_workers: float, said: list[str]) -> None:
    runs = {("service", 1): job(10.2), ("bare loop", 1): job(10.0), ("service", 2): job(two_workers), ("bare loop", 2): job(5.0)}
    text = "\n".join(service.table(runs, [1, 2]))
    at = 0
    for word in said:
        at = text.index(word, at) + len(word)


def test_the_bare_loop_trains_what_the_reference_loop_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    for document in (service.DOCUMENT, service.WARMING):
        for name, value in TINY.items():
            monkeypatch.setitem(document, name, value)
    ended: dict[str, Any] = {}

    def remembered(spec: Any) -> list[Measurement]:
        curve = list(train_one(spec))
        ended[spec.digest] = completed(spec, curve)
        return curve

    run(service.study_of(service.DOCUMENT), remembered)
    found = service.bare(1)
    assert found.losses == service.losses(ended.values())
    assert len(found.gaps) == len(ended) - 1
    assert min(found.seconds, found.cpu_seconds, *found.gaps) > 0
