"""The milestones of a run on the table of an algorithmic task: when it memorised and generalised.

A milestone is an evaluation:

- `memorised`: the first of two evaluations in a row with an accuracy of at least 99 % on the
  training rows.
- `crossed`: the first evaluation, from `memorised` on, with an accuracy of at least 95 % on the
  held-out rows, as in arXiv 2504.16041.
- `sustained`: the first of several evaluations in a row with an accuracy of at least 95 % on the
  held-out rows. The user chooses the number of evaluations.
- `collapsed`: the first evaluation with an accuracy below 50 % on the held-out rows, after an
  evaluation with at least 95 %.

`crossed` and `sustained` are two definitions of generalising. `sustained` and `collapsed` do not
require that the run has memorised. A milestone that the run did not reach is None.

The change itself came after the previous evaluation, so a `Moment` also holds the previous step.
The FLOPs and seconds of a milestone do not include evaluations, since the user
chooses their number. The run stores its milestones as metrics of its last point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate

from telescope.trials.outcome import Measurement

MEMORISED = 0.99  # accuracy on the training rows
GENERALISED = 0.95  # accuracy on the held-out rows
COLLAPSED = 0.5  # accuracy on the held-out rows
MEMORISED_EVALUATIONS = 2  # number of evaluations in a row
# names of metrics of an evaluation; the last two are the cost of the evaluation
ACCURACY, TRAIN_ACCURACY = "accuracy", "train_accuracy"
EVALUATION_FLOPS, EVALUATION_SECONDS = "evaluation/flops", "evaluation/seconds"
PREFIX = "milestone/"


@dataclass(frozen=True)
class Moment:
    """The evaluation at which a milestone was reached, and the evaluation before it. The FLOPs and
    seconds are those of training until then, without evaluations."""

    step: int
    flops: float
    seconds: float
    # the evaluation before; 0 if there is none
    previous_step: int
    previous_flops: float
    previous_seconds: float


@dataclass(frozen=True)
class Milestones:
    """The milestones of a run, and the number and cost of its evaluations."""

    memorised: Moment | None
    crossed: Moment | None
    sustained: Moment | None
    collapsed: Moment | None
    # number of evaluations after `crossed` with an accuracy below 95 % on the held-out rows;
    # 0 if the run did not cross
    below: int
    evaluations: int  # number of evaluations
    evaluation_flops: float = 0.0  # sum over all evaluations
    evaluation_seconds: float = 0.0  # sum over all evaluations


def milestones_of(curve: Sequence[Measurement], sustained_evaluations: int) -> Milestones:
    """The milestones of a curve. `sustained_evaluations` is the number of evaluations in a row that
    `sustained` needs."""
    points = [point for point in curve if ACCURACY in point.metrics]
    train_accuracy = [point.metrics[TRAIN_ACCURACY] for point in points]
    accuracy = [point.metrics[ACCURACY] for point in points]
    memorised = first_run(train_accuracy, MEMORISED, MEMORISED_EVALUATIONS)
    sustained = first_run(accuracy, GENERALISED, sustained_evaluations)
    crossed = None if memorised is None else first_run(accuracy, GENERALISED, 1, memorised)
    later = accuracy[len(accuracy) if crossed is None else crossed :]
    flops, seconds = (spent_on(points, metric) for metric in (EVALUATION_FLOPS, EVALUATION_SECONDS))
    training = [
        replace(point, flops=point.flops - f, seconds=point.seconds - s)
        for point, f, s in zip(points, flops, seconds, strict=True)
    ]
    return Milestones(
        memorised=moment(training, memorised),
        crossed=moment(training, crossed),
        sustained=moment(training, sustained),
        collapsed=moment(training, collapse_index(accuracy)),
        below=sum(value < GENERALISED for value in later),
        evaluations=len(points),
        evaluation_flops=flops[-1] if flops else 0.0,
        evaluation_seconds=seconds[-1] if seconds else 0.0,
    )


def spent_on(points: Sequence[Measurement], metric: str) -> list[float]:
    """For each point, the sum of `metric` over all points up to this one. `metric` is
    EVALUATION_FLOPS or EVALUATION_SECONDS."""
    return list(accumulate(point.metrics.get(metric, 0.0) for point in points))


def first_run(values: Sequence[float], threshold: float, length: int, start: int = 0) -> int | None:
    """Index at which the first sequence of `length` consecutive values at or above `threshold`
    begins, from index `start` on. None if there is no such sequence."""
    above = 0
    for index in range(start, len(values)):
        above = above + 1 if values[index] >= threshold else 0
        if above == length:
            return index - length + 1
    return None


def collapse_index(accuracy: Sequence[float]) -> int | None:
    """Index of the first accuracy below 50 % after an accuracy of at least 95 %. None if there is
    no such accuracy."""
    first = first_run(accuracy, GENERALISED, 1)
    if first is None:
        return None
    below = (i for i in range(first, len(accuracy)) if accuracy[i] < COLLAPSED)
    return next(below, None)


def moment(points: Sequence[Measurement], index: int | None) -> Moment | None:
    """The moment of the evaluation with this index. None if `index` is None."""
    if index is None:
        return None
    point = points[index]
    before = points[index - 1] if index else None
    return Moment(
        step=point.step,
        flops=point.flops,
        seconds=point.seconds,
        previous_step=before.step if before else 0,
        previous_flops=before.flops if before else 0.0,
        previous_seconds=before.seconds if before else 0.0,
    )


def is_settled(
    curve: Sequence[Measurement], metrics: Mapping[str, float], sustained_evaluations: int
) -> bool:
    """True if a run has reached the milestones `memorised`, `crossed` and `sustained`. `metrics`
    are those of the evaluation that follows the last point of `curve`."""
    points = [*(point.metrics for point in curve if ACCURACY in point.metrics), metrics]
    accuracy = [values[ACCURACY] for values in points]
    train_accuracy = [values[TRAIN_ACCURACY] for values in points]
    memorised = first_run(train_accuracy, MEMORISED, MEMORISED_EVALUATIONS)
    if memorised is None or first_run(accuracy, GENERALISED, 1, memorised) is None:
        return False
    return first_run(accuracy, GENERALISED, sustained_evaluations) is not None


def as_metrics(milestones: Milestones) -> dict[str, float]:
    """The milestones as metrics by name, such as milestone/crossed/step. Milestones that the run
    did not reach have no metrics."""
    metrics = {f"{PREFIX}{name}": float(getattr(milestones, name)) for name in TOTALS}
    for name in MOMENTS:
        reached: Moment | None = getattr(milestones, name)
        if reached is not None:
            for field in fields(Moment):
                metrics[f"{PREFIX}{name}/{field.name}"] = float(getattr(reached, field.name))
    return metrics


def from_metrics(metrics: Mapping[str, float]) -> Milestones:
    """The milestones in the metrics of a run's last point. A milestone without metrics is None."""

    def reached(name: str) -> Moment | None:
        values = {
            field.name: metrics.get(f"{PREFIX}{name}/{field.name}") for field in fields(Moment)
        }
        step, previous_step = values.pop("step"), values.pop("previous_step")
        if step is None or previous_step is None:
            return None
        rest = {key: float(value or 0.0) for key, value in values.items()}
        return Moment(step=int(step), previous_step=int(previous_step), **rest)

    def total(name: str) -> float:
        return metrics.get(f"{PREFIX}{name}", 0.0)

    return Milestones(
        memorised=reached("memorised"),
        crossed=reached("crossed"),
        sustained=reached("sustained"),
        collapsed=reached("collapsed"),
        below=int(total("below")),
        evaluations=int(total("evaluations")),
        evaluation_flops=total("evaluation_flops"),
        evaluation_seconds=total("evaluation_seconds"),
    )


MOMENTS = ("memorised", "crossed", "sustained", "collapsed")
TOTALS = ("below", "evaluations", "evaluation_flops", "evaluation_seconds")
