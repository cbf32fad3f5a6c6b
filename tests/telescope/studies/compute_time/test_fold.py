"""The fold: a plan depends only on completed trials, waits only for the trials that it needs, and
ends.
"""

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telescope.errors import InvalidInput
from telescope.studies.compute_time.bill import most_trials, preview
from telescope.studies.compute_time.kind import KIND
from telescope.studies.compute_time.question import Question
from telescope.studies.registry import parse, to_document
from telescope.trials.outcome import Trial, TrialState, completed
from telescope.trials.types import OptimizerName
from tests.telescope.studies.compute_time.laws import (
    GIVEN,
    TUNED,
    Trainer,
    document,
    parsed,
    rounds,
    study,
)

NOISY = Trainer(curvature=0.01, cliff=2.5, point=0.005, run=0.005)
STATES = (TrialState.PENDING, TrialState.RUNNING, TrialState.FAILED, TrialState.STOPPED)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    tuned = draw(st.booleans())
    points = draw(st.integers(3, 5))
    tuning = {
        "lr": {
            "low": 2.0 ** draw(st.integers(-9, -5)),
            "high": 2.0**-3,
            "points": points,
            "extend": draw(st.booleans()),
        },
        "weight_decay": draw(st.sampled_from([0.1, [0.05, 0.1]])),
        "batch_tokens": draw(st.sampled_from([[], [128], [128, 512]])),
        "tokens": draw(st.sampled_from([None, 20_480])),
        "extensions": draw(st.integers(0, 2)),
        "seeds": draw(st.integers(1, 2)),
    }
    return document(
        {
            "tokens": draw(st.sampled_from([20_480, 30_000, 81_920])),
            "reading": draw(st.sampled_from(["constant", "cooldown", "full"])),
            "doublings": draw(st.integers(0, 2)),
            "lengths": draw(st.integers(2, 5)),
        },
        optimizer=draw(st.sampled_from(["muon", ["adamw"], ["muon", "adamw"]])),
        batch_tokens=draw(st.sampled_from([[128, 256, 512], {"low": 128, "high": 512}])),
        target_losses=draw(st.sampled_from([[], [2.5], [3.0, 2.3]])),
        seeds=draw(st.integers(1, 2)),
        **({"tuning": tuning} if tuned else GIVEN),
    )


@settings(max_examples=40, deadline=None)
@given(documents(), st.integers(0, 10**6))
def test_a_plan_is_a_pure_function_of_completed_trials(doc: dict[str, Any], number: int) -> None:
    question = parsed(doc)
    stages, shuffle = rounds(question, replace(NOISY, number=number)), random.Random(number)
    earlier: list[Trial] = []
    trials = [trial for stage in stages for trial in stage]
    assert len({trial.digest for trial in trials}) == len(trials) <= most_trials(question)
    for stage in stages:
        plan = KIND.of(question).plan(shuffle.sample(earlier, len(earlier)))
        slower = [
            replace(trial, seconds=1e3 * trial.seconds + 1, metrics={"step_seconds": 1e3})
            for trial in earlier
        ]
        assert KIND.of(question).plan(slower) == plan, (
            "measured seconds enter the report, never the plan"
        )
        assert [spec.digest for spec in plan.start] == [trial.digest for trial in stage]
        assert not plan.done
        finished = shuffle.sample(stage, len(stage) // 2)
        lost = [
            replace(trial, state=shuffle.choice(STATES)) for trial in stage if trial not in finished
        ]
        planned = [spec.digest for spec in KIND.of(question).plan(finished + lost + earlier).start]
        assert {trial.digest for trial in lost} <= set(planned)
        assert not {trial.digest for trial in finished + earlier} & set(planned)
        earlier += stage
    assert KIND.of(question).plan(trials[::-1]).done
    assert KIND.of(question).report(trials) == KIND.of(question).report(
        shuffle.sample(trials, len(trials))
    )


@settings(max_examples=30, deadline=None)
@given(documents(), st.randoms(use_true_random=False))
def test_trials_that_arrive_in_any_order_come_to_the_same_runs(
    doc: dict[str, Any], order: random.Random
) -> None:
    question, train = parsed(doc), replace(NOISY, number=1)
    expected = {trial.digest for stage in rounds(question, train) for trial in stage}
    trials: list[Trial] = []
    while not (plan := KIND.of(question).plan(trials)).done:
        chosen = order.sample(plan.start, max(1, len(plan.start) // 3))
        trials += [completed(spec, list(train(spec))) for spec in chosen]
    assert {trial.digest for trial in trials} == expected


@settings(max_examples=30, deadline=None)
@given(documents())
def test_a_stage_is_decided_without_the_trials_of_later_ones(doc: dict[str, Any]) -> None:
    question = parsed(doc)
    stages = rounds(question, NOISY)
    for i, stage in enumerate(stages):
        other_trials = [
            trial for j, other_stage in enumerate(stages) if j != i for trial in other_stage
        ]
        planned = {spec.digest for spec in KIND.of(question).plan(other_trials).start}
        assert planned <= {trial.digest for trial in stage}


@settings(max_examples=40, deadline=None)
@given(documents())
def test_without_extensions_the_cost_is_the_bills_least(doc: dict[str, Any]) -> None:
    doc["target_losses"] = []
    for tuning in [doc["tuning"]] if "tuning" in doc else []:
        # a length that no course has: a search's run that recurs is run once
        tuning |= {"extensions": 0, "tokens": 25_600}
    question = parsed(doc)
    trials = [trial for stage in rounds(question, Trainer(curvature=0.01)) for trial in stage]
    bill, report = preview(question), KIND.of(question).report(trials)
    assert bill.trials.least == len(trials) == report.trials
    assert bill.tokens.least == report.tokens
    assert bill.flops.least == pytest.approx(report.flops, rel=1e-12)
    assert bill.trials.least <= bill.trials.most == most_trials(question)


def test_each_batch_waits_for_the_searches_that_it_draws_from_and_for_no_other() -> None:
    question = study(
        optimizer="muon",
        tuning=TUNED["tuning"] | {"batch_tokens": [128, 1024, 4096]},
        batch_tokens=[128, 256, 1024, 2048, 4096],
    )
    (first, *_) = rounds(question, Trainer(curvature=0.01, power=0.0))
    assert {trial.spec.horizon.batch_tokens for trial in first} == {128, 1024, 4096}

    def begun(*tuned: int) -> set[int]:
        plan = KIND.of(question).plan(
            [trial for trial in first if trial.spec.horizon.batch_tokens in tuned]
        )
        searched = {trial.digest for trial in first}
        return {spec.horizon.batch_tokens for spec in plan.start if spec.digest not in searched}

    assert begun() == set()
    assert begun(128) == {128}
    assert begun(128, 1024) == {128, 256, 1024}
    assert begun(1024, 4096) == {1024, 2048, 4096}


def test_the_optimizers_do_not_wait_for_each_other() -> None:
    question = study(**TUNED)
    (first, *_) = rounds(question, Trainer(curvature=0.01))
    plan = KIND.of(question).plan([trial for trial in first if trial.spec.optimizer.name == "muon"])
    assert {spec.optimizer.name for spec in plan.start if spec.measure == "time"} == {"muon"}


def test_every_optimizer_and_batch_is_timed_once_alone_and_at_its_own_batch() -> None:
    (first, *_) = rounds(study(seeds=2), Trainer())
    timed = [trial.spec for trial in first if trial.spec.measure == "time"]
    assert (
        len({(spec.optimizer.name, spec.horizon.batch_tokens) for spec in timed})
        == len(timed)
        == 12
    )


def test_both_optimizers_see_the_same_data_in_the_same_order() -> None:
    (first, *_) = rounds(study(seeds=3), Trainer())

    def seeds(name: OptimizerName) -> list[int]:
        return sorted(trial.spec.seed for trial in first if trial.spec.optimizer.name == name)

    assert seeds("muon") == seeds("adamw")
    assert set(seeds("muon")) == {0, 1, 2}


@settings(max_examples=40, deadline=None)
@given(documents())
def test_a_study_survives_the_journey_through_its_document(doc: dict[str, Any]) -> None:
    first = parsed(doc)
    travelled = json.loads(json.dumps(to_document(KIND.of(first))))
    again = parsed(travelled)
    assert again == first
    assert to_document(KIND.of(again)) == travelled
    assert [spec.digest for spec in KIND.of(again).plan([]).start] == [
        spec.digest for spec in KIND.of(first).plan([]).start
    ]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"optimiser": "muon"}, "optimiser", "did you mean optimizer"),
        ({"runs": {"tokens": 400_000, "lenghts": 3}}, "runs.lenghts", "did you mean lengths"),
        ({"batch_tokens": {"low": 1, "hi": 2}}, "batch_tokens.hi", "did you mean high"),
        ({"kind": "compute_tim"}, "kind", "did you mean compute_time"),
        ({"kind": 3}, "kind", "one of: telescope, compute_time"),
        ({"runs": {}}, "runs.tokens", "is missing"),
        ({"model": {}}, "model.width", "is missing"),
        ({"seeds": 0}, "seeds", "greater than or equal to 1"),
        ({"runs": {"tokens": 400_000, "reading": "middle"}}, "runs.reading", "cooldown"),
    ],
)
def test_a_document_that_is_not_well_typed_names_the_field(
    change: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse(document() | change)
    named = {problem.field: problem.message for problem in refusal.value.problems}
    assert field in named, named
    assert words in named[field]


def test_batches_are_ascending_and_doublings_end_at_the_highest_below_high() -> None:
    def batches(batch_tokens: Any) -> tuple[int, ...]:
        question: Question = study(batch_tokens=batch_tokens)
        return question.batches

    assert batches([512, 128, 256]) == (128, 256, 512)
    assert batches({"low": 128, "high": 512}) == (128, 256, 512)
    assert batches({"low": 128, "high": 1000}) == (128, 256, 512)
    assert batches({"low": 128, "high": 128}) == (128,)
