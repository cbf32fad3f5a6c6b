"""Schemas of HTTP requests and responses.

`telescope.client.resources` declares the resources; the rows of `api.store` extend them. This
module has the pages and lists of resources, and the request bodies. The text below a field becomes
the field's OpenAPI description. Each kind of study declares its reports, previews and table rows
(`telescope.studies`).

Parts: `ItemPage` · `TrialWithSpec` · `Level`, `Levels` · `Curves` · `FrontierPage`, `BatchPage`,
`RatioPage` · `Corpora`, `NewCorpus` · `SweepRunBody`, `NewJudgement` · `Health`.
"""

from dataclasses import field
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass

from telescope.client.resources import WIRE, Corpus, Curve, TrialSummary
from telescope.statistics.frontier import Dominance
from telescope.statistics.token_ratio import Direction
from telescope.studies.compute_time.rows import BatchRow, BatchSummary, FrontierRow, RatioRow
from telescope.trials.spec import TrialSpec

Item = TypeVar("Item")


class Resource(BaseModel):
    """The base of schemas whose values may be read from the attributes of a row."""

    model_config = ConfigDict(
        from_attributes=True,
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )


class ItemPage(Resource, Generic[Item]):
    """A page of a list."""

    items: tuple[Item, ...]
    next_page_token: str | None
    """The `page_token` of the next page; null on the last page."""


@dataclass(frozen=True, config=WIRE)
class TrialWithSpec(TrialSummary):
    """A trial with its full specification."""

    # Clients read the specification as a plain document, since newer servers may add fields.
    spec: TrialSpec = field(kw_only=True)


class Curves(Resource):
    """The thinned curves of a job's trials."""

    items: tuple[Curve, ...]


class Level(BaseModel):
    """One width of one optimizer's ladder; the study's report defines further fields."""

    model_config = ConfigDict(extra="allow")

    optimizer: str
    variant: str
    width: int


class Levels(Resource):
    """The decided levels of a job."""

    final: bool
    items: list[Level]


class FrontierPage(ItemPage[FrontierRow]):
    """Hours to a loss against devices; items are sorted by optimizer, devices, batch."""

    target_loss: float
    read: str
    """How the losses were read off the runs."""
    dominance: Dominance | None
    """Comparison of AdamW's frontier (first) with Muon's (second) over the range of device counts
    that they have in common; null if there is none."""
    model: str
    """Assumptions behind the step times that were not measured."""


class BatchPage(ItemPage[BatchRow]):
    """Tokens and steps to a loss against batch size; items are sorted by optimizer, batch."""

    target_loss: float
    read: str
    """How the losses were read off the runs."""
    optimizers: list[BatchSummary]
    """Token-optimal and critical batches."""


class RatioPage(ItemPage[RatioRow]):
    """AdamW's tokens to a loss, divided by Muon's; items are sorted by batch."""

    target_loss: float
    read: str
    """How the losses were read off the runs."""
    trend_from_batch_tokens: float | None
    """Batch at which the trend starts: the larger critical batch of the two optimizers, null if it
    is beyond the batches that were run; the median batch if there is no critical batch."""
    trend: Direction | None
    """Trend of the ratio from that batch on; null if it would rest on fewer than two batches."""
    exponent: float | None
    """The ratio changes as the batch to this power; null if there is no trend."""
    exponent_low: float | None
    """Lower end of the exponent's interval; null if there is no trend, or no lower end."""
    exponent_high: float | None
    """Upper end of the exponent's interval; null if there is no trend, or no upper end."""
    p_falling: float | None
    """Probability of an exponent at most this high if the ratio does not fall with the batch."""
    note: str
    """Why there are no items; empty if there are items."""


class Corpora(Resource):
    """The named corpora."""

    items: tuple[Corpus, ...]


class NewCorpus(Resource):
    """A corpus to register: a name for a path on the server."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "novels", "path": "/data/novels"}]}
    )

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    """At most 64 lower-case letters, digits, _ and -; the first is a letter or a digit."""
    path: Annotated[str, Field(min_length=1, max_length=4096)]
    """A file or folder below one of the folders in TELESCOPE_DATA_ROOTS."""
    text_field: Annotated[str, Field(min_length=1, max_length=256)] = "text"
    """Field of jsonl and parquet files that holds the text."""


class SweepRunBody(Resource):
    """A finished run of a sweep; other fields are ignored."""

    width: Annotated[int, Field(ge=1, le=2**31 - 1)]
    lr: Annotated[float, Field(gt=0)]
    loss: float | Literal["nan", "inf"] | None
    """Final loss, above 0; null, "nan" or "inf" if the run diverged."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Weight decay; given in every row or in no row."""
    seed: int | None = None
    """Random seed; given in every row or in no row. Without seeds, repeated runs of one point
    count as seeds 0, 1, ... in their order."""


class NewJudgement(Resource):
    """A sweep to judge: its finished runs, and the width to train."""

    model_config = ConfigDict(extra="forbid")

    rows: Annotated[list[SweepRunBody], Field(min_length=1, max_length=4000)]
    target_width: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """The width to train, at least the widest in the rows; by default twice the widest."""


class Health(Resource):
    """Health of the service."""

    status: Literal["ok"] = "ok"
    parts: dict[str, str]
    """State of each part of the service; a missing part is named by a 503 response instead."""
