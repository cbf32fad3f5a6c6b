"""The service benchmark prints the right ratios, and its bare loop trains the right trials."""

import pytest

from benchmarks import service
from benchmarks.recipes import OPTIMIZERS, trial
from benchmarks.service import Run
from telescope.studies import run_study
from telescope.train.loop import train_one
from telescope.trials.outcome import Measurement, Trial, completed
from telescope.trials.spec import TrialSpec

TINY = {
    "horizon": {"steps": 2, "batch_tokens": 128, "evaluation_tokens": 128},
    "search": {"lr": {"low": 0.01, "high": 0.1, "points": 3}},
}


def test_packs_are_of_one_shape_and_of_no_more_than_a_workers_share() -> None:
    specs = [trial(width, 4, OPTIMIZERS[0], seed=seed) for seed in range(5) for width in (32, 64)]
    groups = [group for _, group in service.by_shape(specs)]
    assert sorted([spec.model.width for spec in group] for group in groups) == [[32] * 5, [64] * 5]
    for size, workers, lengths in ((8, 1, [5]), (8, 2, [3, 2]), (2, 2, [2, 2, 1]), (1, 1, [1] * 5)):
        packs = list(service.in_packs(groups[0], size, workers))
        assert [len(pack) for pack in packs] == lengths
        assert [spec for pack in packs for spec in pack] == groups[0]


def job(seconds: float) -> list[Run]:
    return [Run(seconds, seconds, 0.9 * seconds, (2.5,), ("width 32, muon: packs of 4",))]


@pytest.mark.parametrize(
    ("two_workers", "words"),
    [
        (5.2, ["1.020", "pass", "1.040", "pass", "1.962", "pass"]),
        (6.0, ["1.200", "miss", "1.700", "miss"]),
    ],
)
def test_ratios_are_compared_with_the_targets(two_workers: float, words: list[str]) -> None:
    runs = {
        ("service", 1): job(10.2),
        ("bare loop", 1): job(10.0),
        ("service", 2): job(two_workers),
        ("bare loop", 2): job(5.0),
    }
    text = "\n".join(service.table(runs, [1, 2]))
    position = 0
    for word in words:  # each word must occur after the word before
        position = text.index(word, position) + len(word)


def test_the_bare_loop_trains_what_the_reference_loop_trains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for document in (service.DOCUMENT, service.WARMING):
        for name, value in TINY.items():
            monkeypatch.setitem(document, name, value)
    trials: dict[str, Trial] = {}

    def train(spec: TrialSpec) -> list[Measurement]:
        curve = list(train_one(spec))
        trials[spec.digest] = completed(spec, curve)
        return curve

    run_study(service.study_of(service.DOCUMENT), train)
    run = service.bare(1)
    assert run.losses == service.losses(trials.values())
    assert min(run.seconds, run.cpu_seconds) > 0
