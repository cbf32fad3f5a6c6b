"""The progress of a job, and its view on a terminal.

`job_progress` summarises a job and its trials (training runs) as a `ProgressView`. `live_view`
renders this summary for a terminal. `api.terminal.follow` prints a stream of such summaries, and
`api.terminal.views` prints results.

`telescope run` reads jobs and trials from the database. `telescope watch` and `make demo` read them
from a service over HTTP. The types of both sources satisfy the protocols `JobLike` and `TrialLike`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Protocol

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from api.job_states import JobState
from telescope.trials.outcome import TrialState

PACE_SECONDS = 60.0  # the pace is measured over this most recent period
MEASURES = {  # names of levels, by what their trials measure, in the order of printing
    "coordinates": "coordinate check",
    "loss": "width",
    "time": "step times",
}
COLOURS = {JobState.RUNNING: "cyan", JobState.SUCCEEDED: "green", JobState.FAILED: "red"}


class JobLike(Protocol):
    """A job from the database or from a service."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def waiting_for(self) -> str | None: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def started_at(self) -> datetime | None: ...


class TrialLike(Protocol):
    """A trial from the database or from a service."""

    @property
    def optimizer(self) -> str: ...
    @property
    def variant(self) -> str | None: ...
    @property
    def width(self) -> int: ...
    @property
    def batch_tokens(self) -> int | None: ...
    @property
    def lr(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def measure(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def loss(self) -> float | None: ...
    @property
    def diverged(self) -> bool: ...
    @property
    def flops(self) -> float: ...
    @property
    def ended_at(self) -> datetime | None: ...


@dataclass(frozen=True)
class LevelProgress:
    """The progress of a level: the trials of one optimizer at one width.

    If the job has several batch sizes, each batch size has its own level. Each variant of a job (an
    architecture or a text that the job compares with others, or a task with a variant of softmax in
    a grokking job) also has its own levels. The trials of an optimizer's coordinate check (short
    runs at several widths, before the search) form one level. The runs that measure the times of an
    optimizer's training steps also form one level.
    """

    optimizer: str
    variant: str  # empty if the job compares no variants
    measure: str
    width: int | None  # None for the coordinate check and for step times
    batch_tokens: int | None  # None if `width` is None, or if the job has only one batch size
    done: int  # number of trials that have ended
    running: int
    total: int  # number of trials that are planned so far
    best_loss: float | None
    best_lr: float | None

    @property
    def name(self) -> str:
        """The name of the level, without its optimizer and variant."""
        batch = f", batch {self.batch_tokens}" if self.batch_tokens else ""
        return MEASURES[self.measure] if self.width is None else f"width {self.width}{batch}"


@dataclass(frozen=True)
class ProgressView:
    """The progress of a job."""

    id: str
    name: str
    state: JobState
    waiting_for: str | None
    reason: str | None
    levels: tuple[LevelProgress, ...]
    # trials that ended per minute, over the last minute; None if no trial ended in that minute
    trials_per_minute: float | None
    # time for the FLOPs that are left, at the pace of the last minute; None if it is unknown
    seconds_left: float | None


def job_progress(
    job: JobLike, trials: Iterable[TrialLike], now: datetime, forecast_flops: float | None
) -> ProgressView:
    """Summarise a job and its trials.

    `forecast_flops` is the number of FLOPs that the forecast expects for the whole job. The time
    left is unknown if `forecast_flops` is None, or if the trials have already cost this much or
    more. It is also unknown if no trial ended in the last minute.
    """
    trials = list(trials)
    several_batches = len({trial.batch_tokens for trial in trials}) > 1

    def level_of(trial: TrialLike) -> tuple[str, str, int, int, int]:
        """Return the level of a trial, as a key that sorts levels in the order of printing."""
        width = batch_tokens = 0
        if trial.measure == "loss":
            width, batch_tokens = trial.width, (several_batches and trial.batch_tokens) or 0
        measure = list(MEASURES).index(trial.measure)
        return trial.variant or "", trial.optimizer, measure, width, batch_tokens

    levels = tuple(
        _level(list(members), several_batches)
        for _, members in groupby(sorted(trials, key=level_of), level_of)
    )
    recent = [t for t in trials if t.ended_at and (now - t.ended_at).total_seconds() < PACE_SECONDS]
    per_minute = seconds_left = None
    if recent and job.started_at:
        span_seconds = max(1.0, min(PACE_SECONDS, (now - job.started_at).total_seconds()))
        per_minute = 60 * len(recent) / span_seconds
        flops_left = max(0.0, (forecast_flops or 0.0) - sum(t.flops for t in trials))
        flops_recent = sum(t.flops for t in recent)
        if flops_left and flops_recent:
            seconds_left = flops_left * span_seconds / flops_recent
    return ProgressView(
        job.id,
        job.name,
        JobState(job.state),
        job.waiting_for,
        job.reason,
        levels,
        per_minute,
        seconds_left,
    )


def _level(trials: Sequence[TrialLike], several_batches: bool) -> LevelProgress:
    optimizer, variant, measure = trials[0].optimizer, trials[0].variant or "", trials[0].measure
    width = trials[0].width if measure == "loss" else None
    batch_tokens = trials[0].batch_tokens if width and several_batches else None
    states = [TrialState(trial.state) for trial in trials]
    losses = [(trial.loss, trial.lr) for trial in trials if trial.loss is not None and width]
    best_loss, best_lr = min(losses) if losses else (None, None)
    done = sum(state.terminal for state in states)
    running = states.count(TrialState.RUNNING)
    return LevelProgress(
        optimizer,
        variant,
        measure,
        width,
        batch_tokens,
        done,
        running,
        len(trials),
        best_loss,
        best_lr,
    )


def duration(seconds: float) -> str:
    """Format a duration, such as 45 s, 3 min 20 s or 2 h 5 min."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s" if rounded % 60 else f"{rounded // 60} min"
    return f"{rounded // 3600} h {rounded % 3600 // 60} min"


def pace_line(view: ProgressView) -> list[str]:
    """Return texts on the pace and on the time left, as far as these are known.

    The list is empty if the job has ended.
    """
    parts = []
    if not view.state.terminal:
        if view.trials_per_minute is not None:
            parts.append(f"{view.trials_per_minute:.0f} trials/min")
        if view.seconds_left is not None:
            parts.append(f"about {duration(view.seconds_left)} left")
    return parts


def trouble(view: ProgressView) -> list[str]:
    """Return a text on what the job waits for or, if the job has ended, on why it did not succeed.

    The list is empty if there is nothing to explain.
    """
    if not view.state.terminal:
        return [f"waiting for: {view.waiting_for}"] if view.waiting_for else []
    return [view.reason] if view.reason and view.state != JobState.SUCCEEDED else []


def live_view(view: ProgressView) -> RenderableType:
    """Render the progress of a job: a bar and the best loss of each level, then pace and time left.

    The lowest loss of each variant is bold. The last line also has the text of `trouble`.
    """
    head = Text.assemble(
        (view.name or "job", "bold"),
        "  ",
        (view.state.lower(), COLOURS.get(view.state, "yellow")),
        "  ",
        (view.id, "dim"),
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    batches = ("batch",) if any(level.batch_tokens for level in view.levels) else ()
    variants = ("variant",) if any(level.variant for level in view.levels) else ()
    for title in (*variants, "optimizer", "width", *batches, "", "trials", "best loss", "at lr"):
        is_text = title in ("variant", "optimizer", "")
        table.add_column(title, justify="left" if is_text else "right")
    lowest = {variant: min(losses) for variant, losses in _losses(view.levels).items()}
    for level in view.levels:
        is_lowest = level.best_loss == lowest.get(level.variant, ...)
        loss = "" if level.best_loss is None else f"{level.best_loss:.4f}"
        table.add_row(
            *(level.variant for _ in variants),
            level.optimizer,
            {"coordinates": "check", "time": "times"}.get(level.measure, str(level.width)),
            *(str(level.batch_tokens or "") for _ in batches),
            ProgressBar(total=level.total, completed=level.done, width=24),
            f"{level.done}/{level.total}",
            Text(loss, style="bold" if is_lowest else ""),
            "" if level.best_lr is None else f"{level.best_lr:.3g}",
        )
    footer = " · ".join(pace_line(view) + trouble(view))
    return Group(head, table, Text(footer, style="dim"))


def _losses(levels: Iterable[LevelProgress]) -> dict[str, list[float]]:
    """Return the best losses of all levels, separately for each variant.

    The variants may train on different texts, and losses on different texts cannot be compared.
    """
    losses: dict[str, list[float]] = {}
    for level in levels:
        if level.best_loss is not None:
            losses.setdefault(level.variant, []).append(level.best_loss)
    return losses
