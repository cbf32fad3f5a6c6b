"""The rows of the tables for a target loss, from the tokens that runs needed to reach the loss.

A run is *censored* if it ended before it reached the loss, without diverging. A run is *early* if
its loss was low enough at its first point already. Censored and early runs give a bound instead of
an estimate. A batch is *settled* if at least one of its runs reached the loss and none is censored
or early. Rows are compared in two quantities, such as devices and hours: a row *dominates* another
row if it is lower in one quantity and not higher in the other. An optimizer's *frontier* consists
of its rows at settled batches that no other such row dominates.
"""

import itertools
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
    """An optimizer's hours to the loss at each batch whose step time is known, on each device count
    that divides the number of sequences in the batch."""
    by_size, rows = {batch.batch_tokens: batch for batch in batches}, list[FrontierRow]()
    for reading in tokens_at(readings):
        batch = by_size[int(reading.batch_tokens)]
        assert batch.setting is not None, "only batches with a setting were run"
        for time, share in step_times(devices, batch.setting, measured_step_seconds(batch.timed)):
            rows.append(
                FrontierRow(
                    optimizer=batch.optimizer,
                    batch_tokens=batch.batch_tokens,
                    devices=time.devices,
                    hours=finite(time.hours(reading.steps.value)),
                    hours_low=finite(time.hours(reading.steps.low)),
                    hours_high=finite(time.hours(reading.steps.high)),
                    step_seconds=time.seconds,
                    origin=time.origin,
                    share_of_peak=share,
                    censored=reading.censored > 0,
                    early=reading.early > 0,
                    diverged=reading.diverged,
                    on_frontier=False,
                )
            )
    settled = [row for row in rows if row.hours is not None and not row.bound]
    optimal = non_dominated([row.devices for row in settled], [row.hours or 0.0 for row in settled])
    best = list(itertools.compress(settled, optimal))
    return sorted(
        (replace(row, on_frontier=row in best) for row in rows),
        key=lambda row: (row.devices, row.batch_tokens),
    )


def batch_rows(batches: Sequence[BatchProgress], readings: Readings) -> list[BatchRow]:
    """An optimizer's tokens and steps to the loss at each batch. For the frontier, rows are
    compared in steps and tokens."""
    by_size, rows = {batch.batch_tokens: batch for batch in batches}, list[BatchRow]()
    for reading in tokens_at(readings):
        setting = by_size[int(reading.batch_tokens)].setting
        assert setting is not None, "only batches with a setting were run"
        rows.append(
            BatchRow(
                optimizer=setting.optimizer.name,
                batch_tokens=setting.batch_tokens,
                tokens=finite(reading.tokens.value),
                tokens_low=finite(reading.tokens.low),
                tokens_high=finite(reading.tokens.high),
                steps=finite(reading.steps.value),
                steps_low=finite(reading.steps.low),
                steps_high=finite(reading.steps.high),
                reached=reading.reached,
                censored=reading.censored,
                early=reading.early,
                diverged=reading.diverged,
                on_frontier=False,
                lr=setting.optimizer.lr,
                weight_decay=setting.optimizer.weight_decay,
                source=setting.source,
            )
        )
    settled = [row for row in rows if row.tokens is not None and row.censored + row.early == 0]
    optimal = non_dominated(
        [row.steps or 0.0 for row in settled], [row.tokens or 0.0 for row in settled]
    )
    best = list(itertools.compress(settled, optimal))
    return [replace(row, on_frontier=row in best) for row in rows]


def summary(batches: Sequence[BatchProgress], readings: Readings) -> BatchSummary:
    """The token-optimal batch of an optimizer, and its critical batches by the piecewise and the
    smooth form (`telescope.statistics.critical_batch`)."""
    piecewise_form, smooth_form = piecewise(readings), smooth(readings)
    optimal = (
        piecewise_form.token_optimal_batch
        if piecewise_form
        else Estimate(math.inf, math.inf, math.inf)
    )
    return BatchSummary(
        optimizer=batches[0].optimizer,
        token_optimal_batch=finite(optimal.value),
        token_optimal_low=finite(optimal.low),
        token_optimal_high=finite(optimal.high),
        critical=tuple(
            critical(form) for form in (piecewise_form, smooth_form) if form is not None
        ),
    )


def critical(form: Form) -> CriticalBatch:
    """The critical batch by one fitted form, with the quality of the fit."""
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


def ratio_row(first: BatchProgress, second: BatchProgress, token_ratio: RatioAt) -> RatioRow:
    """The ratios of two optimizers' tokens, FLOPs and hours at a batch. `first` has the optimizer
    whose costs are divided by those of the other."""
    assert first.setting is not None, "only batches with a setting were run"
    assert second.setting is not None, "only batches with a setting were run"
    steps = [step_of(setting) for setting in (first.setting, second.setting)]
    flops = [step.model_flops + step.optimizer_flops for step in steps]
    seconds = [measured_step_seconds(batch.timed) for batch in (first, second)]
    ratio, gap = token_ratio.ratio, token_ratio.gap_tokens
    hours_ratio = (
        finite(ratio.value * seconds[0] / seconds[1]) if seconds[0] and seconds[1] else None
    )
    return RatioRow(
        batch_tokens=int(token_ratio.batch_tokens),
        ratio=finite(ratio.value),
        ratio_low=finite(ratio.low),
        ratio_high=finite(ratio.high),
        flops_ratio=finite(ratio.value * flops[0] / flops[1]),
        hours_ratio=hours_ratio,
        gap_tokens=finite(gap.value),
        gap_low=finite(gap.low),
        gap_high=finite(gap.high),
        pairs=token_ratio.pairs,
        muon=token_ratio.standing,
    )


def trend_start(first: Readings, second: Readings) -> float:
    """The smallest batch size that the fit of the token ratio's trend may use.

    It is the larger critical batch of the two optimizers. If only one of them has a critical batch,
    it is that one. If neither has, it is the median of the first optimizer's batches. A critical
    batch is inf if the tokens do not rise within the settled batches; there is then no trend.
    """
    batches = [critical_batch(first), critical_batch(second)]
    fitted = [batch for batch in batches if batch is not None]
    return max(fitted) if fitted else float(np.median(first.batch_tokens))


def finite(value: float) -> float | None:
    """The value; None if the value is infinite or nan, since JSON cannot represent such numbers."""
    return value if math.isfinite(value) else None
