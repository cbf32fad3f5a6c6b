"""What do HTTP clients see?

One model per resource, read from the rows of `api.store.rows` and `api.store.curves`; field
descriptions become those of OpenAPI. Reports and previews are documents of their study
(`telescope.studies`) and pass as they are; so do the rows of answers to a target loss.

Parts: `Page` · `Job`, `JobDetail` · `Trial`, `TrialDetail` · `Level`, `Levels` · `Curve`, `Curves`
· `FrontierPage`, `BatchPage`, `RatioPage` · `Corpus`, `Corpora`, `NewCorpus` · `SweepRow`,
`NewJudgement` · `Health`.
"""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from api.job_states import JobState, Verb
from telescope.statistics.frontier import Dominance
from telescope.statistics.token_ratio import Direction
from telescope.studies.compute_time.rows import BatchRow, BatchSummary, FrontierRow, RatioRow
from telescope.trials.outcome import TrialState
from telescope.trials.spec import TrialSpec

Item = TypeVar("Item")


class Resource(BaseModel):
    """Read from a row's attributes; the text below a field describes it."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True, json_schema_serialization_defaults_required=True)


class Page(Resource, Generic[Item]):
    """Some items of a list, in its order."""

    items: list[Item]
    next_page_token: str | None
    """Give it as `page_token` for the items that follow; null: there are none."""


class Job(Resource):
    """A study that somebody submitted, and how far it has come."""

    id: str
    name: str
    kind: str
    state: JobState
    requested: Verb | None
    """A verb that the coordinator has not carried out yet."""
    waiting_for: str | None
    """What the job lacks to go on, such as a free GPU."""
    reason: str | None
    """Why it ended as it did."""
    owner: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    trials_done: int
    """Completed trials."""
    trials_total: int
    """Trials planned so far; later stages add theirs."""
    best_loss: float | None
    """Least held-out loss so far."""
    version: int
    """Raised by every change of the job or of the fate of its trials; also its ETag."""


class JobDetail(Job):
    """A job with the study that it answers."""

    study: dict[str, Any]
    """The study in full, every default and the corpus's content hash filled in; it can be submitted again."""


class Trial(Resource):
    """One training run of a job."""

    id: int
    job_id: str
    digest: str
    """Identity of the run: equal specifications have equal digests."""
    optimizer: str
    width: int
    lr: float
    """Base learning rate, independent of width."""
    weight_decay: float
    seed: int
    measure: Literal["loss", "coordinates", "time"]
    """What it is for: its loss, the coordinate check before the search, or how long a step takes."""
    state: TrialState
    attempt: int
    failures: int
    """Operational failures so far."""
    worker: str | None
    loss: float | None
    """Final held-out loss; null until the trial completed, and where it diverged."""
    diverged: bool
    """The loss was not finite, or stayed above its start: a result, the worst one."""
    step: int
    """Of the last point of its curve."""
    steps: int
    """Steps of the whole run; one that stops below its loss makes fewer."""
    batch_tokens: int | None
    """Tokens per step; null in trials of old databases."""
    flops: float
    """Useful ones."""
    flops_spent: float
    """Over all attempts, repeated steps included."""
    seconds: float
    failure_kind: Literal["operational", "scientific"] | None
    failure_message: str | None
    numerics: str | None
    """What its numbers were computed with: torch, device, telescope."""
    reused_from: int | None
    """The trial of an earlier job that trained it, at no cost to this one."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    ladder: str | None
    """The ladder, by its optimizer, that planned it; null in trials of old databases, as are stage and level."""
    stage: str | None
    """The stage of the ladder that planned it."""
    level: int | None
    """The level of the ladder, 0 at the base width; null for trials of no level: checks, runs at the target."""
    variant: str
    """The architecture or text that it is of, where its job compares several."""


class TrialDetail(Trial):
    """A trial with its full specification."""

    spec: TrialSpec


class Curve(Resource):
    """Loss against steps, tokens, FLOPs and seconds, as columns of one length."""

    trial_id: int
    step: list[int]
    tokens: list[int]
    flops: list[float]
    seconds: list[float]
    metrics: dict[str, list[float | None]]
    """train_loss: mean since the point before; loss: held-out. Null where it was not measured or not finite."""


class Curves(Resource):
    """The curves of a job's trials, thinned out."""

    items: list[Curve]


class Level(BaseModel):
    """One width of one optimizer's ladder; which further fields it has, the study's report says."""

    model_config = ConfigDict(extra="allow")

    optimizer: str
    variant: str
    width: int


class Levels(Resource):
    """The levels that are decided."""

    final: bool
    items: list[Level]


class FrontierPage(Page[FrontierRow]):
    """Hours to a loss against devices; items by optimizer, devices, batch."""

    target_loss: float
    read: str
    """How the loss was read."""
    dominance: Dominance | None
    """AdamW's curve (first) beside Muon's (second) over the device counts that both have; null where there are none."""
    model: str
    """What step times that were not measured assume."""


class BatchPage(Page[BatchRow]):
    """Tokens and steps to a loss against batch size; items by optimizer, batch."""

    target_loss: float
    read: str
    """How the loss was read."""
    optimizers: list[BatchSummary]
    """Token-optimal and critical batches."""


class RatioPage(Page[RatioRow]):
    """AdamW's tokens to a loss over Muon's; items by batch."""

    target_loss: float
    read: str
    """How the loss was read."""
    trend_from_batch_tokens: float | None
    """The larger critical batch of both, or the middle of the batches where there is none."""
    trend: Direction | None
    """Of the ratio from there on."""
    exponent: float | None
    """The ratio grows as this power of the batch."""
    exponent_low: float | None
    exponent_high: float | None
    p_falling: float | None
    """Chance of such an exponent if the ratio did not fall."""
    note: str
    """Why there are no items, where there are none."""


class Corpus(Resource):
    """A text that jobs can name in `data.corpus`."""

    name: str
    built_in: bool
    path: str | None
    """Where a registered corpus lies on the server; null for a built-in one."""


class Corpora(Resource):
    """All that have a name."""

    items: list[Corpus]


class NewCorpus(Resource):
    """A name for a path on the server."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "novels", "path": "/data/novels"}]})

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    """Lower-case letters, digits, _ and -."""
    path: Annotated[str, Field(min_length=1, max_length=4096)]
    """A file or folder under one of the folders in TELESCOPE_DATA_ROOTS."""
    text_field: Annotated[str, Field(min_length=1, max_length=256)] = "text"
    """Where jsonl and parquet files keep their text."""


class SweepRow(Resource):
    """A finished run of a sweep; other fields are ignored."""

    width: Annotated[int, Field(ge=1, le=2**31 - 1)]
    lr: Annotated[float, Field(gt=0)]
    loss: float | Literal["nan", "inf"] | None
    """Final loss, above 0; null, "nan" or "inf" where the run diverged."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Given in every row or in none."""
    seed: int | None = None
    """Given in every row or in none; without it, repeats of a point count as seeds in their order."""


class NewJudgement(Resource):
    """A sweep to be judged."""

    model_config = ConfigDict(extra="forbid")

    rows: Annotated[list[SweepRow], Field(min_length=1, max_length=4000)]
    target_width: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """The width to train, at least the widest in the rows; by default twice that."""


class Health(Resource):
    """Whether the service can do its work."""

    status: Literal["ok"] = "ok"
    parts: dict[str, str]
    """Each part's own word; a part that is missing makes the answer a 503 problem that names it."""
