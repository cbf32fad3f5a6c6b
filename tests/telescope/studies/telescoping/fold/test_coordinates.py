"""The coordinate check as the first stage of a ladder, and at the end of its runs."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from surfaces.bowls import Surface, document, random_surface, study
from telescope.studies import run_study
from telescope.studies.coordinates.check import CheckProgress
from telescope.studies.kind import EndCause
from telescope.studies.registry import parse, report_document, resolved
from telescope.studies.telescoping.answer.late import late_report, late_words
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.fold.progress import LadderProgress, exceeded, ladder_progress
from telescope.studies.telescoping.fold.specs import trial_spec
from telescope.studies.telescoping.kind import KIND
from telescope.studies.telescoping.ladder.ladder import Done, Outcome, Point
from telescope.studies.telescoping.late_evidence import LateReason, LateReport, LateSlope
from telescope.studies.telescoping.schedules.robust import BLOCK_STAGES
from telescope.train.loop import train_one
from telescope.train.probes import LATE
from telescope.trials.outcome import Measurement, Trial, completed
from telescope.trials.spec import TrialSpec

FLAT = random_surface(3, noise=0.2)


def checking(**changes: Any) -> Any:
    return study(coordinates="check", **changes)


# Before the search


def test_nothing_is_searched_before_the_check_has_passed() -> None:
    question = checking()
    first = KIND.of(question).plan([]).start
    assert len(first) == 12
    assert {spec.measure for spec in first} == {"coordinates"}
    assert {spec.model.width for spec in first} == {32, 64, 128, 256}
    # the geometric middle of the range
    assert [spec.optimizer.lr for spec in first] == pytest.approx([2.0**-5.5] * 12)
    trials = [completed(spec, FLAT(spec)) for spec in first]
    assert KIND.of(question).plan(trials[1:]).start == first[:1]
    assert (
        "coordinate check is not finished" in KIND.of(question).report(trials[1:]).ladders[0].reason
    )
    assert {spec.measure for spec in KIND.of(question).plan(trials).start} == {"loss"}


def test_a_passed_check_leaves_the_search_as_it_would_be_without_and_is_on_the_bill() -> None:
    with_check, without = (run_study(KIND.of(question), FLAT) for question in (checking(), study()))
    mine, as_printed = with_check.ladders[0], without.ladders[0]
    assert mine.coordinates.verdict == "pass"
    assert as_printed.coordinates.verdict == "skipped"
    assert (mine.hyperparameters, mine.levels, mine.verdict) == (
        as_printed.hyperparameters,
        as_printed.levels,
        as_printed.verdict,
    )
    bill = mine.cost.coordinates
    assert as_printed.cost.coordinates is None
    assert (bill.trials, bill.tokens) == (12, 12 * 8 * 512)
    assert mine.cost.trials == as_printed.cost.trials + 12
    assert mine.cost.flops == pytest.approx(as_printed.cost.flops + bill.flops)
    assert mine.cost.tokens == as_printed.cost.tokens + bill.tokens
    assert parse_report(with_check) == with_check


def parse_report(report: Any) -> Any:
    return TypeAdapter(type(report)).validate_python(report_document(report))


@pytest.mark.parametrize("growth", [0.6, -0.6])
def test_a_ladder_that_fails_its_check_is_refused_without_hyperparameters_or_search(
    growth: float,
) -> None:
    report = run_study(KIND.of(checking()), replace(FLAT, growth=growth))
    (ladder,) = report.ladders
    assert (report.final, report.verdict, report.best) == (True, "refused", None)
    assert (ladder.verdict, ladder.hyperparameters, ladder.levels, ladder.cost.trials) == (
        "refused",
        {},
        (),
        12,
    )
    assert (
        "coordinate check fails: the effect of blocks.0.layer's own updates scales as width^"
    ) in report.reason
    assert "Likely cause:" in report.reason
    assert report.reason.endswith("Fix the cause, or set `coordinates: skip`")
    assert ladder.pairing.remarks == ()
    assert ladder.coordinates is not None
    assert [layer.layer for layer in ladder.coordinates.failed] == ["blocks.0.layer"] * 2


UNSOUND: dict[str, dict[str, Any]] = {
    "forced": {
        "optimizer_options": {"update_scale": "rms_match", "muon_lr_rule": "inverse"},
        "force_pairing": True,
    },
    "mup-paper": {"parametrisation": "mup-paper"},
    "standard": {"parametrisation": "standard"},
}


@pytest.mark.parametrize("changes", UNSOUND.values(), ids=UNSOUND)
def test_an_unsound_pairing_that_fails_its_check_is_run_all_the_same_and_the_answer_says_so(
    changes: dict[str, Any],
) -> None:
    growing = replace(FLAT, growth=-0.6)
    ladder, unchecked = (
        run_study(KIND.of(study(**changes, coordinates=how)), growing).ladders[0]
        for how in ("check", "skip")
    )
    assert ladder.coordinates is not None
    assert ladder.coordinates.verdict == "fail"
    assert (ladder.verdict, ladder.reason, ladder.levels) == (
        unchecked.verdict,
        unchecked.reason,
        unchecked.levels,
    )
    assert ladder.levels
    assert ladder.hyperparameters == unchecked.hyperparameters != {}
    assert ladder.cost.trials == unchecked.cost.trials + 12
    (text,) = set(ladder.pairing.remarks) - set(unchecked.pairing.remarks)
    assert "coordinate check fails" in text
    assert ladder.coordinates.reason in text
    assert "coordinate check" not in " ".join(
        run_study(KIND.of(checking(**changes)), FLAT).ladders[0].pairing.remarks
    )


def test_what_sound_rules_make_of_the_papers_parametrisation_is_refused_where_its_check_fails() -> (
    None
):
    options = {"muon_lr_rule": "inverse_sqrt", "weight_decay_rule": "fixed_tokens"}
    report = run_study(
        KIND.of(checking(parametrisation="mup-paper", optimizer_options=options)),
        replace(FLAT, growth=0.6),
    )
    assert report.verdict == "refused"


def test_the_papers_own_pair_really_fails_its_check_and_is_swept_unforced() -> None:
    question = resolved(
        parse(
            {
                "kind": "telescope",
                "parametrisation": "mup-paper",
                "schedule": "paper",
                "model": {
                    "base_width": 16,
                    "calibration_width": 32,
                    "target_width": 128,
                    "depth": 1,
                    "head_dim": 16,
                    "mlp_ratio": 2,
                },
                "data": {"corpus": "python-stdlib", "context": 32},
                "horizon": {"steps": 6, "batch_tokens": 256, "evaluation_tokens": 256},
                "search": {"lr": {"low": 2.0**-6, "high": 2.0**-4, "points": 3}},
            }
        )
    ).question
    (ladder,) = run_study(KIND.of(question), train_one).ladders
    assert ladder.coordinates is not None
    assert (ladder.coordinates.verdict, ladder.pairing.forced) == ("fail", False)
    assert ladder.verdict != "refused"
    assert [level.width for level in ladder.levels] == [16, 32]
    assert "coordinate check fails" in ladder.pairing.remarks[-1]


def test_a_verdict_that_hangs_is_given_five_seeds_and_then_the_search_goes_on() -> None:
    report = run_study(KIND.of(checking()), replace(FLAT, growth=0.27))
    (ladder,) = report.ladders
    assert ladder.coordinates is not None
    assert (ladder.coordinates.verdict, ladder.coordinates.seeds) == ("unresolved", 5)
    assert ladder.cost.coordinates.trials == 20
    assert report.verdict != "refused"
    assert ladder.hyperparameters


def test_a_refused_ladder_does_not_hold_up_the_other() -> None:
    def train(spec: TrialSpec) -> Sequence[Measurement]:
        return replace(FLAT, growth=0.6 if spec.optimizer.name == "adamw" else 0.0)(spec)

    report = run_study(KIND.of(checking(optimizer=["adamw", "muon"])), train)
    assert report.ladders[0].verdict == "refused"
    assert report.best == "muon"
    assert report.verdict == report.ladders[1].verdict != "refused"


def test_where_there_are_too_few_widths_nothing_is_checked_and_the_report_warns() -> None:
    model = document()["model"] | {"base_width": 32, "calibration_width": 64, "target_width": 64}
    question = checking(model=model)
    assert {spec.measure for spec in KIND.of(question).plan([]).start} == {"loss"}
    check = (
        run_study(KIND.of(question), Surface(FLAT.target, target_width=64)).ladders[0].coordinates
    )
    assert check is not None
    assert check.verdict == "unresolved"
    assert "only 3 widths" in check.reason


def test_limits_on_the_search_do_not_count_the_check_and_a_limit_on_flops_does() -> None:
    assert run_study(KIND.of(checking(limits={"max_trials": 45})), FLAT).ladders[
        0
    ].cost.trials in range(24 + 12, 45 + 12 + 1)
    base = all_ladders(study())[0].base_flops
    for runs in (60, 200):
        (ladder,) = run_study(KIND.of(checking(limits={"max_flops": runs * base})), FLAT).ladders
        assert ladder.levels
        assert ladder.cost.flops <= runs * base
        assert ladder.cost.coordinates is None or ladder.cost.coordinates.flops <= 0.1 * runs * base


def test_the_flops_of_the_check_count_towards_the_limit() -> None:
    question = checking(limits={"max_flops": 100.0 * all_ladders(study())[0].base_flops})
    (ladder,) = all_ladders(question)
    points = [Point(0, (0.0, 0.0), seed) for seed in range(90)]
    assert exceeded(question, ladder, points, 9.0 * ladder.base_flops) is None
    assert exceeded(question, ladder, points, 11.0 * ladder.base_flops) == EndCause.OUT_OF_FLOPS


def test_whatever_the_order_of_the_trials_the_report_is_one() -> None:
    question, trials = checking(), list[Trial]()
    surface = replace(FLAT, growth=0.27)
    while not (plan := KIND.of(question).plan(trials)).done:
        trials += [completed(spec, surface(spec)) for spec in plan.start]
    shuffled = random.Random(1).sample(trials, len(trials))
    assert (
        KIND.of(question).report(shuffled)
        == KIND.of(question).report(trials)
        == run_study(KIND.of(question), surface)
    )


# At the end of the runs


def ended(growth: float, seeds: int = 2, far: float = 0.0) -> LadderProgress:
    """Three levels of runs whose spectral norms go as width^growth, as lr^0.7, and by as much as
    `far` where they are off the optimum.
    """
    question = study(1)
    (ladder,) = all_ladders(question)
    rng = np.random.default_rng(1)
    trials: dict[Point, Trial] = {}
    for level, width in enumerate(ladder.widths[:3]):
        for x in (-8.0, -6.0, -5.5, -5.0) if level == 0 else (-6.0, -5.25):
            for seed in range(seeds):
                spec = trial_spec(question, "muon", width, {"lr": 2.0**x}, seed)
                size = (
                    growth * math.log2(width)
                    + 0.7 * x
                    + 0.02 * rng.standard_normal()
                    + (far if x < -7 else 0.0)
                )
                loss = 3.0 - 0.1 * level + 0.01 * (x + 5.5) ** 2
                metrics = {
                    "loss": loss,
                    f"{LATE}spectral/up": 2.0**size,
                    f"{LATE}update/up": 2.0 ** (3 * size),
                }
                trials[Point(level, (x,), seed)] = completed(
                    spec, [Measurement(120, 1, 1.0, 1.0, metrics)]
                )
    done = tuple(
        Done(
            "grid",
            tuple(sorted(Outcome(p, t.loss or 0.0) for p, t in trials.items() if p.level == level)),
        )
        for level in range(3)
    )
    return LadderProgress(
        ladder=ladder, check=CheckProgress((), (), None), done=done, trials=tuple(trials.items())
    )


def without_spectral_norms(trial: Trial) -> Trial:
    metrics = {name: size for name, size in trial.metrics.items() if "spectral" not in name}
    return replace(trial, metrics=metrics)


def required_report(progress: LadderProgress) -> LateReport:
    report = late_report(progress)
    assert report is not None
    return report


@pytest.mark.parametrize(
    ("growth", "verdict"), [(0.0, "pass"), (0.2, "pass"), (0.6, "fail"), (-0.6, "fail")]
)
def test_the_late_check_finds_the_growth_of_spectral_norms_at_one_learning_rate(
    growth: float, verdict: str
) -> None:
    # runs more than an octave from the best one do not count
    report = required_report(ended(growth, far=5.0))
    (spectral,) = (slope for slope in report.slopes if slope.name == "spectral/up")
    assert report.verdict == spectral.verdict == verdict
    assert spectral.slope == pytest.approx(growth, abs=0.03)
    assert spectral.low < growth < spectral.high
    assert (report.runs, report.widths) == (14, (32, 64, 128))


@pytest.mark.parametrize(
    ("growth", "code"), [(0.1, "within_gate"), (0.6, "beyond_gate"), (0.255, "across_gate")]
)
def test_the_reason_of_the_late_check_is_a_value_that_comes_back_from_json_as_it_was(
    growth: float, code: str
) -> None:
    report = required_report(ended(growth, far=5.0))
    because, reasons = report.because, TypeAdapter(LateReason)
    assert because is not None
    assert (because.code, because.narrowest, because.widest, because.judged, because.gate) == (
        code,
        32,
        128,
        1,
        0.25,
    )
    again = reasons.validate_json(reasons.dump_json(because))
    assert (again, hash(again)) == (because, hash(because))
    assert late_words(again) == report.reason
    document = json.loads(TypeAdapter(LateReport).dump_json(report))
    stored = TypeAdapter(LateReport).validate_python(
        {name: value for name, value in document.items() if name != "because"}
    )
    assert (stored.because, stored.reason, stored.verdict) == (None, report.reason, report.verdict)


@pytest.mark.parametrize(
    ("code", "end"),
    [
        (
            "beyond_gate",
            (
                ", beyond the gate of ±0.25; a weight-decay rule that does not match its lr rule "
                "shows only at the end of the runs, not in the first steps"
            ),
        ),
        ("within_gate", ", the steepest of 3 slopes; the gate is ±0.25"),
        ("across_gate", "; this is beyond the gate of ±0.25, but not clearly"),
    ],
)
def test_the_late_check_has_words_for_every_code(code: Any, end: str) -> None:
    worst = LateSlope("spectral/up", -0.3, -0.4, -0.2, "fail")
    law = (
        "at the end of the runs the spectral norm of up scales as "
        "width^-0.30 (-0.40 to -0.20) over widths 32 to 128"
    )
    assert (
        late_words(LateReason(code, worst, narrowest=32, widest=128, judged=3, gate=0.25))
        == law + end
    )


def test_under_robust_the_blocks_are_compared_and_the_base_grid_is_not() -> None:
    whole = ended(0.1, far=5.0)
    far, *near = [replace(stage, name="climb") for stage in whole.done]
    assert required_report(replace(whole, done=(whole.done[0], *near))).runs == 8
    assert required_report(replace(whole, done=(far, *near))).runs == 16


def test_where_the_learning_rates_move_with_width_the_late_check_says_nothing() -> None:
    whole = ended(0.0)
    remaining = tuple(
        replace(stage, outcomes=tuple(o for o in stage.outcomes if o.point.x[0] == x))
        for stage, x in zip(whole.done, (-5.0, -5.25, -6.0), strict=True)
    )
    assert late_report(replace(whole, done=remaining)) is None
    on_a_line = tuple(
        replace(stage, outcomes=tuple(o for o in stage.outcomes if o.point.x[0] == x))
        for stage, x in zip(whole.done[:2], (-5.0, -5.25), strict=True)
    )
    assert late_report(replace(whole, done=on_a_line)) is None, "lr and width cannot be told apart"


def test_the_late_check_knows_the_stages_of_robust_that_are_blocks() -> None:
    question, trials = study(2), list[Trial]()
    while not (plan := KIND.of(question).plan(trials)).done:
        trials += [completed(spec, FLAT(spec)) for spec in plan.start]
    (ladder,) = all_ladders(question)
    names = {stage.name for stage in ladder_progress(question, ladder, trials).done}
    assert names >= {"grid", "shape", "climb"}
    assert names - {"edge"} <= {"grid", *BLOCK_STAGES}


def test_last_steps_are_told_and_not_judged() -> None:
    report = required_report(ended(0.2))
    (update,) = (slope for slope in report.slopes if slope.name == "update/up")
    assert (round(update.slope, 1), update.verdict, report.verdict) == (0.6, None, "pass")


def test_one_width_or_runs_that_say_nothing_give_no_late_report() -> None:
    whole = ended(0.0)
    assert late_report(replace(whole, done=whole.done[:1])) is None
    assert run_study(KIND.of(study()), FLAT).ladders[0].late is None
    unmeasured = tuple((point, without_spectral_norms(trial)) for point, trial in whole.trials)
    assert late_report(replace(whole, trials=unmeasured)) is None


@pytest.mark.parametrize(("rule", "verdict"), [("fixed_tokens", "pass"), ("constant", "fail")])
def test_a_decay_rule_unfit_for_the_lr_rule_passes_the_early_check_and_fails_the_late_one(
    rule: str, verdict: str
) -> None:
    question = resolved(
        parse(
            {
                "kind": "telescope",
                "optimizer": "adamw",
                "schedule": "paper",
                "seeds": 2,
                "force_pairing": True,
                "model": {
                    "base_width": 16,
                    "calibration_width": 64,
                    "target_width": 128,
                    "depth": 1,
                    "head_dim": 8,
                    "mlp_ratio": 2,
                },
                "data": {"corpus": "python-stdlib", "context": 32},
                "horizon": {"steps": 60, "batch_tokens": 256, "evaluation_tokens": 1024},
                "optimizer_options": {"weight_decay_rule": rule},
                "search": {"lr": {"low": 0.01, "high": 0.02, "points": 2}, "weight_decay": 3.0},
            }
        )
    ).question
    (ladder,) = run_study(KIND.of(question), train_one).ladders
    assert ladder.coordinates is not None
    assert ladder.late is not None
    assert (ladder.coordinates.verdict, ladder.late.verdict) == ("pass", verdict)
    assert ladder.verdict != "refused"
