"""The end of a climb has the values that its words are made from."""

from surfaces.bowls import Surface, random_surface, study
from telescope.studies import run_study
from telescope.studies.telescoping.answer.remedy import advice
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.fold.progress import ladder_progress
from telescope.studies.telescoping.kind import KIND
from telescope.studies.telescoping.ladder.ladder import pooled_fit
from telescope.studies.telescoping.reasons import Advice, ClimbEnd
from telescope.trials.outcome import Trial, completed


def test_a_climb_within_tolerance_has_the_drift_that_is_left_and_its_interval() -> None:
    (ladder,) = run_study(KIND.of(study()), random_surface(3, noise=0.2, law="drawn")).ladders
    assert ladder.climb is not None
    assert ladder.climb.why == ClimbEnd.TOLERANCE
    left, values = ladder.shifts[0], dict(ladder.climb.values)
    assert values == {
        "calibration_width": 256,
        "octaves": left.octaves,
        "low": left.low,
        "high": left.high,
    }
    assert left.low < left.octaves < left.high


def test_a_climb_that_ends_at_a_wall_is_not_said_to_lack_budget() -> None:
    search = {
        "lr": {"low": 2.0**-9, "high": 2.0**-2, "points": 8, "extend": False},
        "weight_decay": 0.1,
    }
    model = {"base_width": 32, "calibration_width": 256, "target_width": 512, "head_dim": 16}
    question = study(search=search, model=model, limits={"max_base_runs": 500})
    (ladder,) = run_study(KIND.of(question), Surface((-11.0, -3.3))).ladders
    assert ladder.climb is not None
    assert (ladder.climb.why, ladder.climb.width) == (ClimbEnd.WALL, 128)
    assert "lies at or beyond a limit of the values allowed" in ladder.climb.words


def test_a_limit_below_the_first_grid_is_the_reason_of_the_report() -> None:
    report = run_study(KIND.of(study(limits={"max_flops": 1.0})), Surface((-5.7, -3.7)))
    assert (report.final, report.verdict) == (True, "unresolved")
    assert report.reason == "limits.max_flops is used up"


def test_no_seeds_are_advised_against_a_drift_under_the_published_rule() -> None:
    question, trials = study(1, schedule="paper"), list[Trial]()
    while not (plan := KIND.of(question).plan(trials)).done:
        trials += [completed(spec, Surface((-5.7, -3.7))(spec)) for spec in plan.start]
    (ladder,) = all_ladders(question)
    progress = ladder_progress(question, ladder, trials)
    fit = pooled_fit(ladder, progress.done)
    assert fit is not None
    assert advice(progress, fit, drifting=True).advice is Advice.CALIBRATE_WIDER
    assert advice(progress, fit).advice is Advice.GRID_EXHAUSTED
