"""The conversion of readings to rows.

Parts: `frontier_rows` · `batch_rows`, `summary` · `ratio_row`, `since`, the first batch of a trend
· `finite`.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from telescope.statistics.batch_readings import Readings, tokens_at
from telescope.statistics.critical_batch import Form, Piecewise, critical_batch, piecewise, smooth
from telescope.statistics.estimates import Estimate
from telescope.statistics.frontier import non_dominated
from telescope.statistics.token_ratio import RatioAt
from telescope.studies.compute_time.fold import BatchProgress
from telescope.studies.compute_time.question import Devices
from telescope.studies.compute_time.rows import (
    BatchRow,
    BatchSummary,
    CriticalBatch,
    FrontierRow,
    RatioRow,
)
from telescope.studies.compute_time.times import measured_step_seconds, step_of, step_times


def frontier_rows(
    devices: Devices, batches: Sequence[BatchProgress], readings: Readings
) -> list[FrontierRow]:
    """An optimizer's hours on every device count; `on_frontier` marks rows that no other
    dominates.
    """
    known, rows = {one.batch_tokens: one for one in batches}, list[FrontierRow]()
    for at in tokens_at(readings):
        one = known[int(at.batch_tokens)]
        assert one.setting is not None, "only batches with a setting were run"
        for time, share in step_times(devices, one.setting, measured_step_seconds(one.timed)):
            low, middle, high = (
                finite(time.hours(steps)) for steps in (at.steps.low, at.steps.value, at.steps.high)
            )
            rows.append(
                FrontierRow(
                    optimizer=one.optimizer,
                    batch_tokens=one.batch_tokens,
                    devices=time.devices,
                    hours=middle,
                    hours_low=low,
                    hours_high=high,
                    step_seconds=time.seconds,
                    origin=time.origin,
                    share_of_peak=share,
                    censored=at.censored > 0,
                    early=at.early > 0,
                    diverged=at.diverged,
                    on_frontier=False,
                )
            )
    settled = [row for row in rows if row.hours is not None and not row.bound]
    kept = non_dominated([row.devices for row in settled], [row.hours or 0.0 for row in settled])
    best = [row for row, keep in zip(settled, kept, strict=True) if keep]
    return sorted(
        (replace(row, on_frontier=row in best) for row in rows),
        key=lambda row: (row.devices, row.batch_tokens),
    )


def batch_rows(batches: Sequence[BatchProgress], readings: Readings) -> list[BatchRow]:
    """An optimizer's tokens and steps at every batch; `on_frontier` marks undominated batches."""
    known, rows = {one.batch_tokens: one for one in batches}, list[BatchRow]()
    for at in tokens_at(readings):
        setting = known[int(at.batch_tokens)].setting
        assert setting is not None, "only batches with a setting were run"
        rows.append(
            BatchRow(
                optimizer=setting.optimizer.name,
                batch_tokens=setting.batch_tokens,
                tokens=finite(at.tokens.value),
                tokens_low=finite(at.tokens.low),
                tokens_high=finite(at.tokens.high),
                steps=finite(at.steps.value),
                steps_low=finite(at.steps.low),
                steps_high=finite(at.steps.high),
                reached=at.reached,
                censored=at.censored,
                early=at.early,
                diverged=at.diverged,
                on_frontier=False,
                lr=setting.optimizer.lr,
                weight_decay=setting.optimizer.weight_decay,
                source=setting.source,
            )
        )
    settled = [row for row in rows if row.tokens is not None and row.censored + row.early == 0]
    kept = non_dominated(
        [row.steps or 0.0 for row in settled], [row.tokens or 0.0 for row in settled]
    )
    best = [row for row, keep in zip(settled, kept, strict=True) if keep]
    return [replace(row, on_frontier=row in best) for row in rows]


def summary(batches: Sequence[BatchProgress], readings: Readings) -> BatchSummary:
    """The summary of an optimizer's batches."""
    first, second = piecewise(readings), smooth(readings)
    optimal = first.token_optimal_batch if first else Estimate(math.inf, math.inf, math.inf)
    return BatchSummary(
        optimizer=batches[0].optimizer,
        token_optimal_batch=finite(optimal.value),
        token_optimal_low=finite(optimal.low),
        token_optimal_high=finite(optimal.high),
        critical=tuple(critical(form) for form in (first, second) if form is not None),
    )


def critical(form: Form) -> CriticalBatch:
    """One form of the critical batch."""
    left_out = form.left_out if isinstance(form, Piecewise) else ()
    return CriticalBatch(
        form="piecewise" if isinstance(form, Piecewise) else "smooth",
        batch_tokens=finite(form.critical_batch.value),
        low=finite(form.critical_batch.low),
        high=finite(form.critical_batch.high),
        fewest_tokens=form.fewest_tokens,
        residual_percent=form.residual_percent,
        p_of_misfit=form.p_of_misfit,
        slope=form.slope.value if isinstance(form, Piecewise) else None,
        left_out_low=finite(min(left_out)) if left_out else None,
        left_out_high=finite(max(left_out)) if left_out else None,
    )


def ratio_row(first: BatchProgress, second: BatchProgress, row: RatioAt) -> RatioRow:
    """Both optimizers at a batch; `first` is the ratio's numerator."""
    assert first.setting is not None, "only batches with a setting were run"
    assert second.setting is not None, "only batches with a setting were run"
    steps = [step_of(setting) for setting in (first.setting, second.setting)]
    flops = [step.model_flops + step.optimizer_flops for step in steps]
    seconds = [measured_step_seconds(one.timed) for one in (first, second)]
    ratio, gap = row.ratio, row.gap_tokens
    return RatioRow(
        batch_tokens=int(row.batch_tokens),
        ratio=finite(ratio.value),
        ratio_low=finite(ratio.low),
        ratio_high=finite(ratio.high),
        flops_ratio=finite(ratio.value * flops[0] / flops[1]),
        hours_ratio=finite(ratio.value * seconds[0] / seconds[1])
        if seconds[0] and seconds[1]
        else None,
        gap_tokens=finite(gap.value),
        gap_low=finite(gap.low),
        gap_high=finite(gap.high),
        pairs=row.pairs,
        muon=row.standing,
    )


def since(first: Readings, second: Readings) -> float:
    """The first batch of a trend: the larger critical batch of both, or the middle of the batches
    without any.

    It is inf where the tokens of either do not rise within the batches run, so that none lies
    beyond both.
    """
    known = [
        batch for batch in (critical_batch(first), critical_batch(second)) if batch is not None
    ]
    return max(known) if known else float(np.median(first.batch_tokens))


def finite(value: float) -> float | None:
    """The value; None where it is not finite, since JSON cannot represent it."""
    return value if math.isfinite(value) else None
