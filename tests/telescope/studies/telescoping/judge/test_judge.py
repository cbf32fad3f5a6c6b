"""Does the judge of a sweep find what is known, refuse what it cannot know, and say what to run?"""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from surfaces.bowls import Surface, random_surface, study
from telescope.errors import InvalidInput
from telescope.studies.telescoping.fold.progress import final_loss_of
from telescope.studies.telescoping.judge.formats import read_csv, read_document, read_rows
from telescope.studies.telescoping.judge.judge import Judgement, judge
from telescope.studies.telescoping.judge.levels import missing_lrs
from telescope.studies.telescoping.judge.sweep import Sweep, SweepRun
from telescope.studies.telescoping.kind import KIND
from telescope.trials.outcome import Trial, completed

EXAMPLE = Path(__file__).parents[5] / "api" / "examples" / "sweep.csv"
LRS = range(-9, -1)

# AdamW under the standard parametrisation on python-stdlib: lr 2^-11 to 2^-4, widths 32 to 256,
# means of three seeds
STANDARD = {
    32: (4.3344, 3.6277, 2.9684, 2.5663, 2.4005, 2.3805, 2.4345, 2.6537),
    64: (3.6592, 2.9472, 2.4846, 2.3254, 2.2361, 2.2757, 2.4041, 2.4912),
    128: (2.9834, 2.5290, 2.3271, 2.2699, 2.2990, 2.3851, 2.4488, 2.6392),
    256: (2.5379, 2.3483, 2.2483, 2.2738, 2.3752, 2.4696, 2.5897, 2.8569),
}


def swept(
    surface: Surface,
    widths: Sequence[int],
    lrs: Sequence[float] = LRS,
    decays: Sequence[float | None] = (None,),
    seeds: int = 1,
) -> Sweep:
    """A surface's losses on a full grid in octaves at every width."""
    grid = [(w, x, d, s) for w in widths for x in lrs for d in decays for s in range(seeds)]
    rows = [
        SweepRun(
            w,
            2.0**x,
            None if d is None else 2.0**d,
            s,
            surface.loss(w, (x,) if d is None else (x, d), s),
        )
        for w, x, d, s in grid
    ]
    return Sweep(tuple(rows), ())


def table(losses: dict[int, Sequence[float | None]], lowest: float) -> Sweep:
    rows = [
        (w, 2.0 ** (lowest + i), loss) for w, row in losses.items() for i, loss in enumerate(row)
    ]
    return read_rows([{"width": w, "lr": lr, "loss": loss} for w, lr, loss in rows])


def bowl(
    optimum: float, lrs: Sequence[float], curvature: float = 0.01, floor: float = 2.0
) -> list[float | None]:
    return [floor * (1 + curvature * (x - optimum) ** 2) for x in lrs]


def error(judgement: Judgement, truth: float) -> float:
    return math.log2(judgement.hyperparameters["lr"].value) - truth


def verdicts(judgement: Judgement) -> list[str]:
    return [level.verdict for level in judgement.levels]


# What is known


@pytest.mark.parametrize(
    ("axes", "law", "widths", "decays", "seeds", "skew"),
    [
        (1, "inverse", (32, 64, 128, 256), (None,), 1, "tanh"),
        (1, "root", (32, 64, 128, 256), (None,), 3, "tanh"),  # a bowl that is not the model's
        (1, "inverse", (32, 96, 224), (None,), 2, "tanh"),
        (2, "inverse", (32, 64, 128, 256), (-6, -4, -2, 0), 1, "tanh"),
    ],
)
def test_the_intervals_hold_the_known_optima(axes, law, widths, decays, seeds, skew) -> None:
    surfaces = [random_surface(3000 + n, axes, law=law, noise=0.2, skew=skew) for n in range(12)]
    judgement = [judge(swept(s, widths, decays=decays, seeds=seeds), 512) for s in surfaces]
    held = [s.optimum(512)[0] for s in surfaces]
    inside = [
        j.hyperparameters["lr"].low <= 2**x <= j.hyperparameters["lr"].high
        for j, x in zip(judgement, held, strict=True)
    ]
    levels = [
        math.log2(level.interval["lr"].low)
        <= s.optimum(level.width)[0]
        <= math.log2(level.interval["lr"].high)
        for j, s in zip(judgement, surfaces, strict=True)
        for level in j.levels
    ]
    wrong = [
        j.verdict == "resolved" and abs(error(j, x)) > 0.5
        for j, x in zip(judgement, held, strict=True)
    ]
    assert sum(inside) >= 10
    assert sum(levels) >= 0.75 * len(levels)
    assert not any(wrong)
    assert sum(j.verdict == "resolved" for j in judgement) >= 10


@pytest.mark.parametrize("number", [2, 3])
def test_a_jobs_own_trials_are_judged_as_the_job_judged_them(number: int) -> None:
    """But for the far points of its base grid, which only the job's fit sees."""
    question, surface = study(), random_surface(number, noise=0.1)
    trials: list[Trial] = []
    while not (plan := KIND.of(question).plan(trials)).done:
        trials += [completed(spec, list(surface(spec))) for spec in plan.start]
    report = KIND.of(question).report(trials)
    specs = [trial.spec for trial in trials]
    rows = [
        SweepRun(s.model.width, s.optimizer.lr, s.optimizer.weight_decay, s.seed, final_loss_of(t))
        for s, t in zip(specs, trials, strict=True)
    ]
    judgement = judge(Sweep(tuple(rows), ()), 512)
    job, own = report.ladders[0].hyperparameters["lr"], judgement.hyperparameters["lr"]
    assert judgement.verdict == report.verdict
    assert math.log2(own.value / job.value) == pytest.approx(0, abs=0.1)
    assert own.half_width == pytest.approx(job.half_width, rel=0.25)
    assert own.low < job.value < own.high


def test_muon_under_mup_transfers_on_real_text() -> None:
    judgement = judge(read_csv(EXAMPLE.read_bytes()))
    assert judgement.verdict == "resolved", judgement.reason
    assert judgement.target_width == 512
    assert judgement.drift is not None
    # the slope of parabolas' vertices over all seeds, docs/log/2026-transfer.md
    assert judgement.drift.low < -0.073 < judgement.drift.high
    assert judgement.measured_regret == 0.0
    assert judgement.copying[-1].width == 512
    assert judgement.copying[-1].regret < 0.5


def test_adamw_without_mup_does_not_transfer_on_real_text() -> None:
    judgement = judge(table(STANDARD, -11))
    assert judgement.verdict == "unresolved"
    assert "drifting" in judgement.reason
    assert judgement.drift is not None
    assert judgement.drift.low < -0.817 < judgement.drift.high
    assert judgement.measured_regret == pytest.approx(9.843, abs=0.001)  # 2.4696 / 2.2483
    assert judgement.copying[2].regret == pytest.approx(9.8, abs=1.5)
    assert verdicts(judgement) == ["resolved"] * 4  # each width is clear, transfer is not


def test_drift_is_per_doubling_whatever_the_widths() -> None:
    # 0.2 octave down per doubling
    surface = Surface(
        target=(-5.0,), drift=(1.2,), law="constant", base_width=16, target_width=1024
    )
    for widths in ((16, 64, 256), (16, 48, 144), (16, 20, 256)):
        judgement = judge(swept(surface, widths, seeds=2), 1024).drift
        assert judgement is not None
        assert judgement.octaves_per_doubling == pytest.approx(-0.2, abs=0.03), widths


def test_the_move_is_told_over_the_widths_that_it_was_taken_over() -> None:
    surface = Surface(target=(-5.0,))
    assert "over the last 2 doublings" in judge(swept(surface, (16, 64, 256))).reason
    assert "over the last doubling of width" in judge(swept(surface, (64, 128, 192, 256))).reason
    # 0.8 octave per doubling
    close = Surface(target=(-5.0,), drift=(2.4,), law="constant", base_width=64, target_width=512)
    judgement = judge(swept(close, (64, 80), seeds=4), 96)
    assert judgement.verdict == "unresolved"


# What is refused


def test_one_width_cannot_bound_the_drift() -> None:
    judgement = judge(table({64: bowl(-5, LRS)}, -9))
    assert judgement.verdict == "unresolved"
    assert "a single width cannot bound the drift" in judgement.reason
    assert verdicts(judgement) == ["resolved"]
    assert (judgement.drift, judgement.copying, judgement.measured_regret) == (None, (), None)


def test_a_width_with_two_learning_rates_is_told_which_to_add() -> None:
    losses = {64: bowl(-5, LRS), 128: [*[None] * 3, *bowl(-5, (-6, -5)), None, None, None]}
    judgement = judge(Sweep(tuple(r for r in table(losses, -9).rows if r.finite), ()))
    assert verdicts(judgement) == ["resolved", "unresolved"]
    assert judgement.levels[1].reason.startswith("2 learning rates with a finite loss")
    added = math.log2(float(judgement.levels[1].reason.rpartition(" ")[2]))
    assert added == pytest.approx(-4, abs=0.3)


def test_where_all_rates_near_the_optimum_were_tried_a_lower_one_is_to_be_added() -> None:
    assert missing_lrs(None, 0, (-7, -6, -5, -4, -3), -5) == [-8]
    assert missing_lrs(None, 0, (-5, -4), -5) == [-6]
    assert missing_lrs(None, 0, (-5,), -5) == [-6, -4]


@pytest.mark.parametrize(("optimum", "side"), [(-3.9, "highest"), (-9.2, "lowest")])
def test_an_optimum_at_the_border_is_unbracketed_and_told_what_lies_beyond(optimum, side) -> None:
    lrs = range(-9, -3)
    judgement = judge(table({64: bowl(optimum, lrs), 128: bowl(optimum, lrs)}, -9))
    assert judgement.verdict == "unbracketed"
    assert verdicts(judgement) == ["unbracketed"] * 2
    beyond = "0.125 and 0.25" if side == "highest" else "0.000977 and 0.000488"
    assert (
        f"width 128: the optimum lies at the {side} lr tried; add lr {beyond}" in judgement.reason
    )
    assert judgement.levels[0].edge == f"lr: {'high' if side == 'highest' else 'low'}"


def test_a_border_of_runs_that_diverged_is_no_border() -> None:
    losses: dict[int, Sequence[float | None]] = {
        w: [*bowl(-4, range(-9, -3)), None, None] for w in (64, 128, 256)
    }
    judgement = judge(table(losses, -9))
    assert [(level.edge, level.diverged, level.verdict) for level in judgement.levels] == [
        (None, 2, "resolved")
    ] * 3
    assert all(abs(math.log2(level.optimum["lr"]) + 4) < 0.3 for level in judgement.levels)


def test_everything_diverged_is_unbracketed_below() -> None:
    for losses in (
        {64: [None] * 8, 128: bowl(-5, LRS)},
        {64: bowl(-5, LRS), 128: [None] * 8},
        {64: [None] * 8, 128: [None] * 8},
    ):
        judgement = judge(table(losses, -9))
        assert judgement.verdict == "unbracketed"
        assert "every run diverged; add lr below 0.00195" in judgement.reason
        lost = [level.diverged == level.trials for level in judgement.levels]
        assert [not level.optimum and not level.interval for level in judgement.levels] == lost
        assert (not judgement.hyperparameters) == all(lost)


def test_where_the_narrowest_width_diverged_throughout_the_guess_is_of_the_next() -> None:
    judgement = judge(table({64: [None] * 8, 128: bowl(-5, LRS)}, -9))
    lr = judgement.hyperparameters["lr"]
    assert (lr.value, lr.half_width) == (2.0**-5, 0.0)
    assert judgement.measured_regret is None


def test_noise_makes_it_unresolved_and_the_seeds_to_add_are_named() -> None:
    surface = Surface(target=(-5.0,), curvature=0.25, noise=1.5, number=4)
    judgement = judge(swept(surface, (32, 64, 128)))
    assert judgement.verdict == "unresolved"
    assert "add new seeds" in judgement.reason
    assert " at width " in judgement.reason


def test_a_target_narrower_than_the_sweep_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"target_width: must be at least 128.*given: 100"):
        judge(table({64: bowl(-5, LRS), 128: bowl(-5, LRS)}, -9), 100)


# What must not matter


def test_order_and_the_loss_of_each_width_times_a_constant_change_nothing() -> None:
    sweep = swept(random_surface(5, 1, noise=0.2), (32, 64, 128), seeds=2)
    scaled = Sweep(
        tuple(
            SweepRun(r.width, r.lr, None, r.seed + 7, r.loss * r.width)
            for r in reversed(sweep.rows)
        ),
        (),
    )
    first, second = judge(sweep), judge(scaled)
    assert first.verdict == second.verdict
    assert second.hyperparameters["lr"].value == pytest.approx(
        first.hyperparameters["lr"].value, rel=1e-4
    )
    assert second.hyperparameters["lr"].half_width == pytest.approx(
        first.hyperparameters["lr"].half_width, rel=1e-3
    )


def test_runs_that_diverged_are_not_fitted_but_count_as_worst() -> None:
    whole = table({w: bowl(-5, LRS) for w in (64, 128)}, -9)
    cut = judge(
        Sweep(
            tuple(
                SweepRun(r.width, r.lr, None, 0, r.loss if r.lr < 2**-2.5 else math.inf)
                for r in whole.rows
            ),
            (),
        )
    )
    assert cut.hyperparameters == judge(whole).hyperparameters
    lost = Sweep(
        (
            *whole.rows,
            *(SweepRun(r.width, r.lr, None, 1, math.inf) for r in whole.rows if r.lr == 2**-5),
        ),
        (),
    )
    lowest = [level.best_loss for level in judge(lost).levels]
    assert lowest == [pytest.approx(2.02)] * 2, (
        "a point of which one seed diverged is not the lowest"
    )


# Weight decay


def test_two_weight_decays_are_compared_and_three_are_fitted() -> None:
    surface = Surface(target=(-5.0, -3.0))
    two = judge(swept(surface, (32, 64, 128), decays=(-5, -3)))
    assert two.hyperparameters["weight_decay"].status == "swept"
    assert two.hyperparameters["weight_decay"].value == 2**-3
    three = judge(swept(surface, (32, 64, 128), decays=(-6, -4, -2)))
    assert three.hyperparameters["weight_decay"].status in ("resolved", "flat")
    assert math.log2(three.hyperparameters["weight_decay"].value) == pytest.approx(-3, abs=0.3)


@pytest.mark.parametrize("decay", [0, 0.1])
def test_one_weight_decay_is_taken_as_given(decay: float) -> None:
    rows = [
        {"width": w, "lr": 2.0**x, "weight_decay": decay, "loss": 2 + (x + 5) ** 2 / 50}
        for w in (64, 128)
        for x in LRS
    ]
    judgement = judge(read_rows(rows))
    assert (
        judgement.hyperparameters["weight_decay"].status,
        judgement.hyperparameters["weight_decay"].value,
    ) == ("fixed", decay)
    assert "weight_decay" not in judgement.levels[0].window


def test_a_sweep_without_weight_decay_says_so() -> None:
    rows = [
        {"width": w, "lr": 2.0**x, "weight_decay": 0, "loss": 2 + (x + 5) ** 2 / 50}
        for w in (64, 128)
        for x in LRS
    ]
    assert judge(read_rows(rows)).hyperparameters["weight_decay"].value == 0
    assert "weight_decay" not in judge(table({64: bowl(-5, LRS)}, -9)).hyperparameters


# Reading


def test_columns_may_come_in_any_order_and_case_and_others_are_ignored() -> None:
    text = "\ufeffLoss; model ;LR;Width;Seed\n2.5;a;1e-2;64;3\n;b;0.02;64;3\n\nNaN;c;.04;64.0;3\n"
    sweep = read_csv(text.encode())
    assert sweep.rows == (
        SweepRun(64, 0.01, None, 3, 2.5),
        SweepRun(64, 0.02, None, 3, math.inf),
        SweepRun(64, 0.04, None, 3, math.inf),
    )
    assert sweep.notes == ("ignored: model",)
    assert read_csv(b"width\tlr\tloss\n64\t0.1\t2").rows == (SweepRun(64, 0.1, None, 0, 2.0),)
    assert read_csv(b"width,lr,weight_decay,seed,loss,\n64,0.1,,,2,").rows == (
        SweepRun(64, 0.1, None, 0, 2.0),
    )
    assert read_rows([{"Width": 64, "lr": "0.1", "loss": None, "weight_decay": None}]).rows == (
        SweepRun(64, 0.1, None, 0, math.inf),
    )


@pytest.mark.parametrize(
    "word", ["", "nan", "NaN", "-nan", "inf", "Infinity", "none", "NULL", "n/a", "diverged"]
)
def test_a_loss_may_say_in_many_ways_that_the_run_diverged(word) -> None:
    assert not read_csv(f"width,lr,loss\n64,0.1,{word}\n64,0.2,2\n".encode()).rows[0].finite


def test_repeats_without_seeds_are_seeds_in_their_order_and_that_is_said() -> None:
    sweep = read_csv(b"width,lr,loss\n64,0.1,2\n64,0.2,3\n64,0.1,4\n64,0.1,5\n")
    assert [(row.lr, row.seed, row.loss) for row in sweep.rows] == [
        (0.1, 0, 2.0),
        (0.1, 1, 4.0),
        (0.1, 2, 5.0),
        (0.2, 0, 3.0),
    ]
    assert "1 of 2 points have repeats" in sweep.notes[0]


def test_a_loss_beyond_all_comparison_counts_as_diverged_and_that_is_said() -> None:
    sweep = read_csv(b"width,lr,loss\n64,0.1,2\n64,0.2,2001\n64,0.4,1999\n128,0.1,3000\n")
    assert [row.finite for row in sweep.rows] == [True, False, True, True]
    assert sweep.notes == (
        "runs with a loss of over 1000 times the lowest loss of their width count as diverged: 1",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty; begin with a line of column names"),
        (b" \n\n", "is empty"),
        (b",,\n ,,\n", "is empty"),
        (b"width,lr,loss\n", "has no runs"),
        (b"width,rate,loss\n1,2,3\n", "lr: no such column"),
        (b"width,lr,LR,loss\n1,2,2,3\n", "lr: is the name of 2 columns; keep one"),
        (b"width,lr,loss\n64,abc,2\n", "line 2, lr: must be a positive number.*given: 'abc'"),
        (b"width,lr,loss\n64,0.1,2\n64,-0.1,2\n", "line 3, lr: must be .*given: '-0.1'"),
        (b"width,lr,loss\n64,0,2\n", "line 2, lr: must be a positive"),
        (b"width,lr,loss\n64,inf,2\n", "line 2, lr: must be a positive"),
        (b"width,lr,loss\n64.5,0.1,2\n", "line 2, width: must be a whole number"),
        (b"width,lr,loss\n64,0.1,-2\n", "line 2, loss: must be a positive number; leave it empty"),
        (b"width,lr,loss\n64,0.1,-inf\n", "line 2, loss: must be a positive number"),
        (b"width,lr,weight_decay,loss\n64,0.1,1,2\n64,0.2,,2\n", "line 3, weight_decay: must be"),
        (b"width,lr,weight_decay,loss\n64,0.1,0,2\n64,0.1,1,2\n", "0 does not fit on a log"),
        (b"width,lr,seed,loss\n64,0.1,1.5,2\n", "line 2, seed: must be a whole number"),
        (b"width,lr,seed,loss\n64,0.1,1,2\n\n64,0.1,1,2\n", "decay and seed of line 2"),
        (b"width,lr,loss\n64,0.1\n", "line 2: has 2 cells, but the first line names 3 columns"),
        (b"width;lr;loss\n64;0,1;2\n", "line 2, lr: must be a positive number"),
        (b'width,lr,loss\n"64,0.1,2\n', "is not CSV.*check the quotes"),
        (bytes(range(256)), "is not UTF-8 text"),
        (b"width,lr,loss\n\0,1,2\n", "is binary, not text"),
        (b"width,lr,loss\n" + b"64,0.1,2.5\n" * 1_000_000, "is larger than 10000000 bytes"),
        (b"width,lr,loss\n" + b"64,0.1,2.5\n" * 4001, "has more than 4000 rows; keep"),
        (b"width,lr,loss\n" + b"64,0.1,2.5\n" * 33, "33 repeats of a point, more than 32"),
        (b"width,lr,loss\n" + b"".join(b"%d,0.1,2\n" % w for w in range(1, 14)), "13 widths, more"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_names_line_column_and_remedy(text, message) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_csv(text)


def test_many_wrong_lines_are_told_together_but_not_all() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_csv(b"width,lr,loss\n" + b"64,x,2\n" * 30)
    assert [problem.field for problem in caught.value.problems[:10]] == [
        f"line {n}, lr" for n in range(2, 12)
    ]
    assert "20 more problems of this kind" in caught.value.problems[10].message


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "must be a mapping with rows"),
        ({"rows": 1}, "rows: must be a list of runs"),
        ({"rows": []}, "has no runs"),
        ({"rows": [1]}, "rows.0: must be a mapping"),
        ({"rows": [{"width": 64, "lr": 0.1}]}, "loss: is missing; give it, or null if"),
        ({"rows": [{"width": 64, "lr": True, "loss": 1}]}, "rows.0.lr: must be a positive number"),
        (
            {"rows": [{"width": 64, "lr": 10**400, "loss": 1}]},
            "rows.0.lr: must be a positive number",
        ),
        (
            {
                "rows": [
                    {"width": 64, "lr": 1, "loss": 1, "seed": 0},
                    {"width": 64, "lr": 2, "loss": 1},
                ]
            },
            "rows.1.seed: must be a whole number",
        ),
        ({"rows": [{"width": 64, "lr": 1, "loss": 1}], "target": 5}, "target: unknown key"),
        (
            {"rows": [{"width": 64, "lr": 1, "loss": 1}], "target_width": "5"},
            "target_width: must be a whole number",
        ),
    ],
)
def test_what_a_document_gets_wrong_is_named_by_its_path(document, message) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_document(document)
