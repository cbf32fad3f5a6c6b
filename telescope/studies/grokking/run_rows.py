"""The rows of a grokking report that describe single runs."""

import math

from telescope.studies.grokking.fold import StudyProgress
from telescope.studies.grokking.rows import RunRow, RunStage
from telescope.studies.grokking.runs import Cell, RunTiming


def run_rows(study: StudyProgress) -> tuple[RunRow, ...]:
    """A row for each completed run, including the runs of the tuning."""
    rows = []
    for cell in study.cells:
        for arm in cell.arms:
            searched = [RunTiming.of(trial) for trial in arm.search.trials] if arm.search else []
            rows += [run_row(cell.cell, timing, "tuning") for timing in searched]
            rows += [run_row(cell.cell, arm.runs[seed], "runs") for seed in sorted(arm.runs)]
    return tuple(rows)


def run_row(cell: Cell, timing: RunTiming, stage: RunStage) -> RunRow:
    """The row of a run."""
    trial, milestones = timing.trial, timing.milestones
    spec, metrics = trial.spec, trial.metrics
    steps_per_epoch = cell.table.steps_per_epoch(spec.horizon.batch_tokens)
    memorised, sustained = (
        timing.epochs(moment) for moment in (milestones.memorised, milestones.sustained)
    )
    gap = None if memorised is None or sustained is None else sustained - memorised
    return RunRow(
        task=cell.table.title,
        softmax=cell.softmax,
        optimizer=spec.optimizer.name,
        stage=stage,
        seed=spec.seed,
        lr=spec.optimizer.lr,
        weight_decay=spec.optimizer.weight_decay,
        adamw_lr_ratio=spec.optimizer.adamw_lr_ratio if spec.optimizer.name == "muon" else None,
        epochs=trial.step / steps_per_epoch,
        steps_per_epoch=steps_per_epoch,
        diverged=trial.diverged,
        memorised_epoch=memorised,
        crossed_epoch=timing.epochs(milestones.crossed),
        sustained_epoch=sustained,
        gap_epochs=gap,
        sustained_steps=timing.time("sustained"),
        sustained_flops=timing.time("sustained", "flops"),
        sustained_seconds=timing.time("sustained", "seconds"),
        collapsed_epoch=timing.epochs(milestones.collapsed),
        below=milestones.below,
        loss=trial.loss if trial.loss is not None and math.isfinite(trial.loss) else None,
        accuracy=metrics.get("accuracy"),
        balanced_accuracy=metrics.get("balanced_accuracy"),
        unmirrored_accuracy=metrics.get("unmirrored_accuracy"),
        train_accuracy=metrics.get("train_accuracy"),
        saturated=metrics.get("saturated"),
        digest=trial.digest,
    )
