"""Runs at the target: do they say what the learning rate handed out costs there, and when it is
wrong?
"""

import json
import math
import random
from dataclasses import replace
from functools import lru_cache
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from api.terminal.pictures import plot_report
from api.terminal.telescoping import parse_report, show
from surfaces.bowls import LOWS, Surface, document, random_surface, study
from telescope.statistics.estimates import Estimate
from telescope.studies import run_study
from telescope.studies.registry import parse, report_document, to_document
from telescope.studies.telescoping.answer import validation
from telescope.studies.telescoping.evidence import Validation
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.fold.progress import ladder_progress
from telescope.studies.telescoping.forecast.preview import preview
from telescope.studies.telescoping.kind import KIND
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, Outcome, pooled_fit
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.report import LadderReport, Report
from telescope.studies.telescoping.schedules import validation as target_runs
from telescope.trials.outcome import Measurement, Trial, completed
from telescope.trials.spec import TrialSpec

MIDDLE = tuple(low + 3.3 for low in LOWS[:2])
TARGET = 512


def question_with(**changes: Any) -> Question:
    """A study that is validated at the target, without the coordinate check."""
    return study(**{"validate_at_target": True, "coordinates": "skip", **changes})


def validated(
    ladder: Ladder, surface: Surface, stated: float, half: float = 0.25
) -> tuple[list[Done], Validation]:
    """All stages around a stated lr (octaves), without the rounds before them."""
    done: list[Done] = []
    handed_out = (stated, surface.target[1])
    while stage := target_runs.next_stage(ladder, handed_out, done):
        result = (
            Outcome(point, surface.loss(TARGET, point.x, point.seed)) for point in stage.points
        )
        done.append(Done(stage.name, tuple(sorted(result))))
    report = validation.validate_ladder(
        ladder, None, Estimate(stated, stated - half, stated + half), done, 0.0
    )
    assert report is not None
    return done, report


def one_ladder(**changes: Any) -> Ladder:
    (ladder,) = all_ladders(study(**changes))
    return ladder


def tried(done: list[Done]) -> list[float]:
    return sorted({outcome.point.x[0] for stage in done for outcome in stage.outcomes})


def walled() -> Ladder:
    search = document()["search"]
    search["lr"]["extend"] = False
    return one_ladder(search=search)


# What is run, and what it says


@pytest.mark.parametrize("off", [-1.5, -0.6, 0.0, 0.6, 1.5])
def test_without_noise_the_optimum_and_what_missing_it_costs_are_found(off: float) -> None:
    surface = Surface(MIDDLE, skew="exponential")
    stated = MIDDLE[0] + off
    _, result = validated(one_ladder(), surface, stated)
    assert result.optimum is not None
    assert result.regret is not None
    assert math.log2(result.optimum) == pytest.approx(MIDDLE[0], abs=0.1)
    assert result.regret == pytest.approx(
        surface.excess(TARGET, (stated, MIDDLE[1])), rel=0.25, abs=0.01
    )
    assert result.regret_interval is not None
    assert (result.regret_interval.low == 0) == (off == 0)
    assert result.held == (abs(off) < 0.25)
    assert result.contradicted == (abs(off) > 0.25)


@pytest.mark.parametrize(
    ("off", "extra"),
    [
        (-5.0, [-3.0, -2.0]),
        (-1.7, [0.3, 1.3]),
        (-1.4, [0.6]),
        (0.0, []),
        (1.4, [-0.6]),
        (5.0, [3.0, 2.0]),
    ],
)
def test_the_runs_go_on_by_an_octave_towards_a_better_end_and_twice_at_most(
    off: float, extra: list[float]
) -> None:
    done, _ = validated(one_ladder(), Surface(MIDDLE), MIDDLE[0] + off)
    expected = sorted([off - 1, off, off + 1, *extra])
    assert [x - MIDDLE[0] for x in tried(done)] == pytest.approx(expected, abs=1 / 64)
    assert len(done) == 1 + len(extra)
    assert sum(len(stage.outcomes) for stage in done) == 2 * len(expected) <= target_runs.MOST_RUNS


@pytest.mark.parametrize("off", [-5.0, -3.6])
def test_an_optimum_out_of_reach_of_the_runs_is_not_settled(off: float) -> None:
    _, result = validated(one_ladder(), Surface(MIDDLE), MIDDLE[0] + off)
    assert (result.settled, result.contradicted, result.held) == (False, True, False)


@pytest.mark.parametrize("side", [0, 1])
def test_no_run_crosses_a_wall(side: int) -> None:
    ladder = walled()
    axis = ladder.axes[0]
    wall = (axis.low, axis.high)[side]
    done, _ = validated(ladder, Surface((wall + (2 * side - 1) * 2, MIDDLE[1])), wall)
    assert min(tried(done)) >= axis.low
    assert max(tried(done)) <= axis.high
    assert len(tried(done)) == 2


def test_runs_that_diverge_count_as_worst_and_are_not_fitted() -> None:
    done, result = validated(one_ladder(), Surface(MIDDLE, cliff=0.8), MIDDLE[0])
    assert (result.diverged, len(tried(done))) == (2, 3)
    assert result.optimum is not None
    assert result.interval is not None
    assert math.log2(result.interval.high) < MIDDLE[0] + 1
    assert math.log2(result.optimum) == pytest.approx(MIDDLE[0], abs=0.6)
    assert result.loss is not None


def test_where_lr_diverges_at_the_target_it_has_no_loss_and_lower_ones_are_tried() -> None:
    done, result = validated(one_ladder(), Surface(MIDDLE, cliff=1.2), MIDDLE[0] + 2)
    assert result.loss is None
    assert min(tried(done)) <= MIDDLE[0]
    assert result.contradicted


def test_where_everything_diverges_nothing_is_claimed() -> None:
    _, result = validated(one_ladder(), Surface(MIDDLE, cliff=-9.0), MIDDLE[0])
    assert (result.optimum, result.interval, result.regret, result.held) == (None, None, None, None)
    assert (result.contradicted, result.settled, result.loss, result.diverged) == (
        False,
        False,
        None,
        result.trials,
    )


def test_the_loss_comes_with_the_noise_between_seeds() -> None:
    surface = Surface(MIDDLE, noise=0.3, number=5)
    _, result = validated(one_ladder(), surface, MIDDLE[0])
    losses = [
        surface.loss(
            TARGET, (snapped := round(MIDDLE[0] * 64) / 64, round(MIDDLE[1] * 64) / 64), seed
        )
        for seed in target_runs.SEEDS
    ]
    assert snapped == pytest.approx(MIDDLE[0], abs=1 / 64)
    assert result.loss == pytest.approx(float(np.mean(losses)), rel=1e-5)
    assert result.seed_noise is not None
    assert 0.02 < result.seed_noise < 1.5
    assert result.loss_error == pytest.approx(
        result.loss * result.seed_noise / 100 / math.sqrt(2), rel=1e-4
    )


@pytest.mark.parametrize("number", range(4))
def test_a_regret_is_only_proven_where_the_interval_does_not_hold_the_learning_rate(
    number: int,
) -> None:
    surface, proven = Surface(MIDDLE, noise=0.3, number=number), []
    for off in (-1.2, -0.3, -0.15, 0.15, 0.3, 1.2):
        _, result = validated(one_ladder(), surface, MIDDLE[0] + off)
        assert result.interval is not None
        assert result.regret_interval is not None
        assert (result.regret_interval.low > 0) == (
            not result.interval.low <= result.lr * (1 + 1e-9) <= result.interval.high * (1 + 2e-9)
        )
        proven.append(result.regret_interval.low > 0)
    assert not all(proven)
    assert proven[0] or proven[-1]


def test_the_likelihood_is_the_integral_over_the_noise_and_the_heights_of_the_seeds() -> None:
    shape = validation.Shape(math.log(0.5), 0.3, 0.65, 0.2, sigma=0.2, dof=4.0)
    z, seeds = np.array([0.0, 0.3, 0.9, 0.2, 0.1]), np.array([0, 0, 0, 1, 1])
    bowls = np.array(
        [[0.0, 0.2, 0.7, 0.0, 0.2], [0.5, 0.0, 0.6, 0.5, 0.0], [3.0, 2.0, 0.0, 3.0, 2.0]]
    )
    sigma, c = np.geomspace(0.05, 30, 150)[:, None, None], np.linspace(-6, 6, 1201)[:, None]

    def integral(f: np.ndarray) -> float:
        sd = sigma * np.sqrt(1 + (validation.ETA * np.maximum(f, z) / shape.sigma) ** 2)
        density = np.exp(-((z - f - c) ** 2) / (2 * sd**2)) / sd
        blocks = [density[..., seeds == seed].prod(-1).sum(-1) for seed in (0, 1)]
        prior = sigma[:, 0, 0] ** -(shape.dof + 1) * np.exp(
            -shape.dof * shape.sigma**2 / (2 * sigma[:, 0, 0] ** 2)
        )
        # the last factor: steps even in log sigma
        return float(np.log(np.sum(blocks[0] * blocks[1] * prior * sigma[:, 0, 0])))

    expected = np.array([integral(f) for f in bowls])
    result = validation.log_likelihood(z, bowls, seeds, shape)
    assert result - result[0] == pytest.approx(expected - expected[0], abs=0.02)


def test_the_ladder_teaches_the_form_of_the_bowl_and_little_about_the_noise_of_another_width() -> (
    None
):
    surface = Surface(MIDDLE, skew="exponential", noise=0.2, curvature=0.8, number=1)
    question, trials = question_with(), list[Trial]()
    while not (plan := KIND.of(question).plan(trials)).done:
        trials += [completed(spec, surface(spec)) for spec in plan.start]
    (ladder,) = all_ladders(question)
    taught = validation.Shape.of(pooled_fit(ladder, ladder_progress(question, ladder, trials).done))
    untaught = validation.Shape.of(None)
    assert math.exp(taught.log_a) == pytest.approx(0.8, rel=0.25)
    assert 0.15 < taught.log_a_sd < untaught.log_a_sd
    assert taught.sigma == pytest.approx(0.2, rel=0.5)
    assert untaught.dof < taught.dof <= validation.NOISE_WORTH


# As part of a study


@lru_cache(maxsize=64)
def answered(number: int, noise: float = 0.2) -> tuple[Surface, LadderReport]:
    surface = random_surface(number, noise=noise, law="drawn")
    return surface, run_study(KIND.of(question_with()), surface).ladders[0]


def truth(surface: Surface, ladder: LadderReport) -> tuple[float, float]:
    """The best lr (octaves) at the weight decay handed out, and what the ladder's lr costs more."""
    assert ladder.validation is not None
    lr, decay = (
        math.log2(ladder.validation.lr),
        math.log2(ladder.hyperparameters["weight_decay"].value),
    )
    best = min(
        (surface.excess(TARGET, (lr + by, decay)), lr + by) for by in np.arange(-3, 3, 1 / 128)
    )
    return float(best[1]), surface.excess(TARGET, (lr, decay)) - best[0]


def test_regret_and_optimum_at_the_target_are_recovered_within_their_intervals() -> None:
    optima, regrets, errors = [], [], []
    for number in range(8):
        surface, ladder = answered(number)
        result, (optimum, regret) = ladder.validation, truth(surface, ladder)
        assert result is not None
        assert result.interval is not None
        assert result.regret_interval is not None
        assert result.regret is not None
        optima.append(result.interval.low <= 2**optimum <= result.interval.high)
        regrets.append(result.regret_interval.low <= regret <= result.regret_interval.high)
        errors.append(result.regret - regret)
        assert not result.contradicted
        assert ladder.reason.startswith(("lr at the target is known", "interval", "drifting"))
    assert np.mean(optima) >= 0.7
    assert np.mean(regrets) >= 0.8
    assert np.sqrt(np.mean(np.square(errors))) <= 0.04  # % of the loss; the seed noise is 0.2


def shifted(surface: Surface, octaves: float) -> Any:
    """The surface, but at the target its optimum lies elsewhere: no ladder can know."""
    moved = replace(
        surface, target=(surface.target[0] + octaves, *surface.target[1:]), drift=(0.0, 0.0)
    )

    def train(spec: TrialSpec) -> list[Measurement]:
        return moved(spec) if spec.model.width == TARGET else surface(spec)

    return train


def test_runs_that_contradict_the_ladder_leave_it_unresolved_and_hand_out_their_own_optimum() -> (
    None
):
    surface = Surface(MIDDLE, skew="exponential", noise=0.1, number=2)
    plain = run_study(KIND.of(question_with(validate_at_target=False)), surface).ladders[0]
    report = run_study(KIND.of(question_with()), shifted(surface, 1.6))
    ladder = report.ladders[0]
    result = ladder.validation
    assert result is not None
    assert plain.verdict == "resolved"
    assert (report.verdict, ladder.verdict) == ("unresolved", "unresolved")
    assert report.reason.startswith("contradicted: runs at width 512")
    assert result.lr == plain.hyperparameters["lr"].value
    assert f"{result.lr:.3g}" in report.reason
    lr = ladder.hyperparameters["lr"]
    assert f"{lr.value:.3g}" in report.reason
    assert math.log2(lr.value) == pytest.approx(MIDDLE[0] + 1.6, abs=0.2)
    assert (lr.low, lr.high) == (result.interval.low, result.interval.high)  # type: ignore[union-attr]
    assert (lr.resolved, lr.status) == (False, "unresolved")
    assert result.regret == pytest.approx(
        surface.excess(TARGET, (MIDDLE[0] - 1.6, MIDDLE[1])), rel=0.3
    )


def test_a_contradiction_that_settles_nothing_keeps_the_ladders_value_and_says_so() -> None:
    surface = Surface(MIDDLE, noise=0.1, number=3)
    plain = (
        run_study(KIND.of(question_with(validate_at_target=False)), surface)
        .ladders[0]
        .hyperparameters["lr"]
    )
    ladder = run_study(KIND.of(question_with()), shifted(surface, 5.0)).ladders[0]
    assert ladder.reason.startswith("contradicted")
    assert "still reported" in ladder.reason
    assert ladder.hyperparameters["lr"].value == plain.value
    assert not ladder.hyperparameters["lr"].resolved


def test_the_runs_are_trained_at_the_target_with_seeds_of_their_own_and_the_rest_held() -> None:
    seen: list[TrialSpec] = []
    surface = random_surface(3, noise=0.2)

    def train(spec: TrialSpec) -> list[Measurement]:
        seen.append(spec)
        return surface(spec)

    report = run_study(KIND.of(question_with()), train)
    at_target = [spec for spec in seen if spec.model.width == TARGET]
    before = {spec.seed for spec in seen if spec.model.width != TARGET}
    assert len(at_target) == report.ladders[0].validation.trials
    assert seen[-len(at_target) :] == at_target
    assert {spec.seed for spec in at_target}.isdisjoint(before)
    assert len({spec.seed for spec in at_target}) == 2
    decay = report.ladders[0].hyperparameters["weight_decay"].value
    (held,) = {spec.optimizer.weight_decay for spec in at_target}
    assert held == pytest.approx(decay, rel=0.01)


def test_the_bill_has_its_own_line_and_the_preview_knows_it() -> None:
    surface, question, plain = (
        random_surface(1, noise=0.2, cliff=math.inf),
        question_with(),
        question_with(validate_at_target=False),
    )
    with_it, without = (
        run_study(KIND.of(question), surface).ladders[0],
        run_study(KIND.of(plain), surface).ladders[0],
    )
    line, result = with_it.cost.validation, with_it.validation
    assert line is not None
    assert result is not None
    assert without.cost.validation is None
    assert without.validation is None
    assert with_it.cost.levels == without.cost.levels
    assert (line.width, line.trials, line.flops) == (TARGET, result.trials, result.flops)
    assert line.flops == pytest.approx(line.trials * with_it.cost.final_run_flops)
    assert with_it.cost.flops == pytest.approx(without.cost.flops + line.flops)
    assert with_it.cost.trials == without.cost.trials + line.trials
    forecast, before = preview(question), preview(plain)
    assert forecast.trials.least == before.trials.least + target_runs.FIRST_RUNS
    assert forecast.flops.most == pytest.approx(
        before.flops.most + target_runs.MOST_RUNS * with_it.cost.final_run_flops
    )
    assert forecast.ladders[0].validation is not None
    assert forecast.ladders[0].validation.flops == pytest.approx(
        target_runs.FIRST_RUNS * with_it.cost.final_run_flops
    )
    assert forecast.flops.least <= with_it.cost.flops <= forecast.flops.most


def test_runs_at_the_target_count_against_the_limits_and_are_never_begun_in_part() -> None:
    surface = random_surface(0, noise=0.2, cliff=math.inf)
    rounds = run_study(KIND.of(question_with(validate_at_target=False)), surface).ladders[0].cost
    each = rounds.final_run_flops
    for limits, trials in (
        ({"max_trials": rounds.trials + 5}, 0),
        ({"max_trials": rounds.trials + 6}, 6),
        ({"max_trials": 4000, "max_flops": rounds.flops + 5.9 * each}, 0),
        ({"max_trials": 4000, "max_flops": rounds.flops + 6.1 * each}, 6),
    ):
        ladder = run_study(KIND.of(question_with(limits=limits)), surface).ladders[0]
        assert ladder.cost.trials == rounds.trials + trials
        assert (ladder.validation is None) == (trials == 0)
        assert (ladder.reason == f"limits.{list(limits)[-1]} is used up") == (trials == 0)
        assert preview(question_with(limits=limits)).flops.most <= limits.get("max_flops", math.inf)


def test_a_limit_at_the_target_is_the_reason_and_the_runs_so_far_are_reported() -> None:
    surface = Surface(MIDDLE, noise=0.1, number=3)
    rounds = (
        run_study(KIND.of(question_with(validate_at_target=False)), surface).ladders[0].cost.trials
    )
    ladder = run_study(
        KIND.of(question_with(limits={"max_trials": rounds + 7})), shifted(surface, 5.0)
    ).ladders[0]
    assert (ladder.verdict, ladder.reason) == ("unresolved", "limits.max_trials is used up")
    assert ladder.validation is not None
    assert (ladder.validation.trials, ladder.validation.contradicted) == (6, True)


def test_limits_that_end_the_rounds_end_the_study() -> None:
    limits = {"max_trials": 60}
    ladder = run_study(KIND.of(question_with(limits=limits)), random_surface(1, noise=0.2)).ladders[
        0
    ]
    assert (ladder.reason, ladder.validation, ladder.cost.validation) == (
        "limits.max_trials is used up",
        None,
        None,
    )


def test_the_fold_with_validation_is_pure() -> None:
    surface, question = random_surface(4, noise=0.3), question_with()
    trials: list[Trial] = []
    while not (plan := KIND.of(question).plan(trials)).done:
        trials += [completed(spec, surface(spec)) for spec in plan.start]
    shuffled = random.Random(0).sample(trials, len(trials))
    assert KIND.of(question).report(shuffled) == KIND.of(question).report(trials)
    planned = {trial.digest for trial in trials}
    (ladder,) = all_ladders(question)
    for count in range(len(trials) - 12, len(trials)):
        progress = ladder_progress(question, ladder, trials[:count])
        assert not progress.ended
        assert {planned.spec.digest for planned in progress.missing} <= planned
        report = KIND.of(question).report(trials[:count])
        assert report.ladders[0].reason.startswith("running")
        assert (report.ladders[0].validation is None) == (len(progress.validation) == 0)


@pytest.mark.parametrize("points", [8, 2])
def test_the_published_rule_can_be_validated_too(points: int) -> None:
    paper = question_with(points=(points, 8), schedule="paper")
    result = run_study(KIND.of(paper), Surface(MIDDLE, noise=0.1)).ladders[0].validation
    assert result is not None
    assert result.optimum is not None
    assert math.log2(result.optimum) == pytest.approx(MIDDLE[0], abs=0.5)
    assert preview(paper).trials.least == preview(paper).trials.most - 4


def test_every_ladder_is_validated_for_itself() -> None:
    report = run_study(
        KIND.of(question_with(optimizer=["muon", "adamw"])), random_surface(6, noise=0.2)
    )
    assert [ladder.validation is not None for ladder in report.ladders] == [True, True]


def test_a_ladder_that_ends_at_its_target_is_validated_by_fresh_runs() -> None:
    model = document()["model"] | {"calibration_width": 256, "target_width": 256}
    surface = Surface(MIDDLE, noise=0.1, target_width=256)
    ladder = run_study(KIND.of(question_with(model=model)), surface).ladders[0]
    assert ladder.validation is not None
    assert ladder.validation.held
    assert (
        ladder.cost.trials
        == sum(level.trials for level in ladder.cost.levels) + ladder.validation.trials
    )


# As a document


def test_it_is_off_unless_asked_for_and_travels_as_a_document() -> None:
    assert not study().validate_at_target
    parsed = parse(document(validate_at_target=True)).question
    assert parsed.validate_at_target
    assert parse(to_document(KIND.of(parsed))).question == parsed
    _, ladder = answered(0)
    report = Report(True, ladder.verdict, ladder.reason, ladder.optimizer, (ladder,))
    fields = report_document(report)["ladders"][0]["validation"]
    assert json.loads(json.dumps(fields)) == fields
    assert {"width", "loss", "regret", "regret_interval", "held", "trials", "flops"} <= set(fields)
    assert parse_report(report_document(report)) == report


def test_it_is_drawn_as_the_last_level(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    surface, runs, drawn = random_surface(0, noise=0.2), list[Any](), list[Any]()

    def train(spec: TrialSpec) -> list[Measurement]:
        runs.append(
            SimpleNamespace(
                optimizer=spec.optimizer.name,
                width=spec.model.width,
                lr=spec.optimizer.lr,
                weight_decay=spec.optimizer.weight_decay,
                seed=spec.seed,
                measure=spec.measure,
                loss=surface(spec)[-1].metrics.get("loss"),
                diverged=False,
                variant="",
            )
        )
        return surface(spec)

    report = run_study(KIND.of(question_with()), train)
    monkeypatch.setattr(
        "telescope.studies.telescoping.plot.draw", lambda ladders, *rest: drawn.extend(ladders)
    )
    plot_report(report, runs, TARGET, tmp_path / "picture.png", "validated")
    result, level = report.ladders[0].validation, drawn[0].levels[-1]
    assert len(drawn[0].levels) == len(report.ladders[0].levels) + 1
    assert (level.width, level.optimum.value) == (TARGET, result.optimum)
    assert level.low < result.lr < level.high
    assert level.best_loss <= result.loss


def test_it_is_said_in_words() -> None:
    _, ladder = answered(0)
    out = StringIO()
    show(
        Report(True, ladder.verdict, ladder.reason, ladder.optimizer, (ladder,)),
        TARGET,
        Console(file=out, width=200),
    )
    text = out.getvalue()
    assert "Validation: in 6 runs at width 512, lr" in text
    assert "the interval of lr that the ladder states contains this optimum" in text
    assert "6 trials and" in text
