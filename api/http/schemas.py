"""What do HTTP clients see?

The resources are those of `telescope.client.resources`, which the rows of `api.store` extend. Here stands what is built of
them, pages and lists, and what clients send; field descriptions become those of OpenAPI. Reports and previews are documents
of their study (`telescope.studies`, `api.http.openapi`); so are the rows of answers to a target loss.

Parts: `Page` · `TrialDetail` · `Level`, `Levels` · `Curves` · `FrontierPage`, `BatchPage`, `RatioPage` · `Corpora`,
`NewCorpus` · `SweepRow`, `NewJudgement` · `Health`.
"""

from dataclasses import field
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass

from telescope.client.resources import WIRE, Corpus, Curve, Trial
from telescope.statistics.frontier import Dominance
from telescope.statistics.token_ratio import Direction
from telescope.studies.compute_time.rows import BatchRow, BatchSummary, FrontierRow, RatioRow
from telescope.trials.spec import TrialSpec

Item = TypeVar("Item")


class Resource(BaseModel):
    """Read from a row's attributes; the text below a field describes it."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True, json_schema_serialization_defaults_required=True)


class Page(Resource, Generic[Item]):
    """Some items of a list, in its order."""

    items: tuple[Item, ...]
    next_page_token: str | None
    """Give it as `page_token` for the items that follow; null: there are none."""


@dataclass(frozen=True, config=WIRE)
class TrialDetail(Trial):
    """A trial with its full specification."""

    spec: TrialSpec = field(kw_only=True)  # clients read it as a document: a newer server's may say more


class Curves(Resource):
    """The curves of a job's trials, thinned out."""

    items: tuple[Curve, ...]


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


class Corpora(Resource):
    """All that have a name."""

    items: tuple[Corpus, ...]


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
