"""Plans of grokking studies: which runs, with what in common, in which order."""

import random
from dataclasses import replace

from telescope.studies.grokking.runs import TUNING_SEED
from telescope.studies.kind import Label
from tests.telescope.studies.grokking.simulated import (
    by_optimizer,
    document,
    finished,
    simulate,
    study_of,
    tuned,
)


def test_the_protocol_paper_plans_all_runs_at_once_with_shared_values() -> None:
    study = study_of(document(fixed={"lr": 0.01, "weight_decay": 0.5}, seeds=3))
    plan = study.plan([])
    assert len(plan.trials) == 6
    assert not plan.done
    assert {planned.label for planned in plan.trials} == {
        Label("muon", "runs"),
        Label("adamw", "runs"),
    }
    assert {(s.optimizer.lr, s.optimizer.weight_decay) for s in plan.start} == {(0.01, 0.5)}


def test_both_optimizers_share_split_initial_values_and_order_of_each_seed() -> None:
    study = study_of(document(seeds=3))
    by_seed: dict[int, list] = {}
    for spec in study.plan([]).start:
        assert spec.data.split_seed == spec.seed
        by_seed.setdefault(spec.seed, []).append(spec)
    assert sorted(by_seed) == [0, 1, 2]
    for muon, adamw in by_seed.values():
        assert muon.optimizer.name != adamw.optimizer.name
        assert replace(muon, optimizer=adamw.optimizer) == adamw


def test_every_task_and_softmax_is_a_cell_with_runs_of_its_own() -> None:
    tasks = [{"task": "add", "modulus": 7}, {"task": "parity", "bits": 4}]
    study = study_of(document(data=tasks, softmax=["softmax", "stablemax"], seeds=2))
    specs = study.plan([]).start
    assert len(specs) == 2 * 2 * 2 * 2
    assert {(s.data.task, s.softmax) for s in specs} == {
        (task, softmax) for task in ("add", "parity") for softmax in ("softmax", "stablemax")
    }


def test_tuning_seeds_take_no_part_in_the_comparison() -> None:
    study = study_of(tuned(seeds=4))
    stages = {}
    trials = finished(study, by_optimizer(20, 40))
    for row in study.report(trials).runs:
        stages.setdefault(row.stage, set()).add(row.seed)
    assert stages["runs"] == {0, 1, 2, 3}
    assert min(stages["tuning"]) == TUNING_SEED


def test_an_optimizer_does_not_wait_for_the_other_ones_search() -> None:
    study = study_of(tuned(seeds=2))
    first = [p for p in study.plan([]).trials if p.label.ladder == "muon"]
    trials = [simulate(planned.spec, by_optimizer(20, 40)) for planned in first]
    later = study.plan(trials).trials
    assert {(p.label.ladder, p.label.stage) for p in later} >= {("adamw", "tuning")}
    assert any(p.label.ladder == "muon" for p in later)


def test_plans_and_reports_do_not_depend_on_the_order_of_the_trials() -> None:
    study = study_of(tuned(seeds=3))
    trials = finished(study, by_optimizer(20, 40))
    mixed = random.Random(0).sample(trials, len(trials))
    assert study.plan(mixed) == study.plan(trials)
    assert study.report(mixed) == study.report(trials)


def test_the_horizon_counts_epochs_whatever_the_size_of_a_batch() -> None:
    full, small = (
        study_of(
            document(
                runs={
                    "epochs": 10,
                    "evaluate_epochs": 2,
                    "sustained_evaluations": 2,
                    "batch_rows": rows,
                }
            )
        )
        .plan([])
        .start[0]
        for rows in (512, 10)
    )
    # 29 of 49 rows are trained on: one batch of 29, or three of 10 (the last of 9)
    assert (full.horizon.steps, full.horizon.evaluate_every, full.windows) == (10, 2, 29)
    assert (small.horizon.steps, small.horizon.evaluate_every, small.windows) == (30, 6, 10)
    assert full.tokens_until(10) == small.tokens_until(30) == 10 * 29 * 4


def test_other_optimizer_options_leave_beta2_as_the_paper_has_it() -> None:
    study = study_of(document(optimizer_options={"newton_schulz_dtype": "float32"}, seeds=1))
    assert {spec.optimizer.beta2 for spec in study.plan([]).start} == {0.98}
