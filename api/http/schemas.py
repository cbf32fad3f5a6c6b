"""Schemas of HTTP requests and responses.

`telescope.client.resources` declares the resources, such as a job or a trial. This module declares
the pages and lists of resources, and the request bodies. The text below a field becomes the field's
OpenAPI description. Reports, previews and table rows are declared by the kind of study to which
they belong (`telescope.studies`).
"""

from dataclasses import field
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass

from telescope.client.resources import WIRE, Corpus, Curve, TrialSummary
from telescope.statistics.frontier import Dominance
from telescope.statistics.token_ratio import Direction
from telescope.studies.compute_time.rows import BatchRow, BatchSummary, FrontierRow, RatioRow
from telescope.studies.grokking.report import StudyVerdict
from telescope.studies.grokking.rows import RunRow
from telescope.studies.grokking.tables import CellTableRow
from telescope.trials.spec import TrialSpec

Item = TypeVar("Item")


class Resource(BaseModel):
    """The base class of schemas that can be filled from the attributes of an object."""

    model_config = ConfigDict(
        from_attributes=True,
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )


class ItemPage(Resource, Generic[Item]):
    """A page of a list."""

    items: tuple[Item, ...]
    next_page_token: str | None
    """The value of `page_token` that requests the next page. It is null on the last page."""


@dataclass(frozen=True, config=WIRE)
class TrialWithSpec(TrialSummary):
    """A trial with its full specification."""

    # telescope's own client reads the specification as a plain document, since a newer server may
    # add fields to it.
    spec: TrialSpec = field(kw_only=True)


class Curves(Resource):
    """The loss curves of a job's trials, each thinned to about the requested number of points."""

    items: tuple[Curve, ...]


class Level(BaseModel):
    """One width at which the job searched, for one optimizer and variant of the study.

    The report of the study declares the further fields of a level.
    """

    model_config = ConfigDict(extra="allow")

    optimizer: str
    variant: str
    width: int


class Levels(Resource):
    """The levels of a job that are decided so far: one per width, optimizer and variant."""

    final: bool
    """True if the report of the job is final. Then no level is added or changed any more, unless
    the job is retried."""
    items: list[Level]


class FrontierPage(ItemPage[FrontierRow]):
    """The hours to reach the target loss, for each optimizer, number of devices and batch size.

    Optimizers come in the order in which the study names them. The items of an optimizer are sorted
    by number of devices, then by batch size.
    """

    target_loss: float
    read: str
    """How the tokens to the target loss were read off the runs."""
    dominance: Dominance | None
    """Comparison of the fewest hours with AdamW (first) and with Muon (second), by number of
    devices. It is null if no number of devices lies in the range of both optimizers' frontiers."""
    model: str
    """Assumptions behind the step times that were computed instead of measured."""


class BatchPage(ItemPage[BatchRow]):
    """The tokens and steps to reach the target loss, for each optimizer and batch size.

    Optimizers come in the order in which the study names them. The items of an optimizer are sorted
    by batch size.
    """

    target_loss: float
    read: str
    """How the tokens to the target loss were read off the runs."""
    optimizers: list[BatchSummary]
    """Each optimizer's token-optimal batch size, and estimates of its critical batch size, beyond
    which its tokens rise."""


class RatioPage(ItemPage[RatioRow]):
    """AdamW's tokens to the target loss divided by Muon's; items are sorted by batch size."""

    target_loss: float
    read: str
    """How the tokens to the target loss were read off the runs."""
    trend_from_batch_tokens: float | None
    """Smallest batch size, in tokens, that counts for the trend of the ratio. An optimizer's
    critical batch size is the size beyond which its tokens rise. This field is the larger of the
    two critical batch sizes, or the only one that could be fitted. If neither could be fitted, it
    is the median of AdamW's batch sizes. It is null if there are no items, or if the tokens of an
    optimizer do not rise with its batch size."""
    trend: Direction | None
    """Trend of the ratio at batch sizes of at least trend_from_batch_tokens. A pair consists of a
    run with AdamW and a run with Muon that have the same seed and reached the loss. If some run at
    a batch size gives only a bound on its tokens, this batch size has no pairs. The trend is null
    if fewer than two batch sizes of at least trend_from_batch_tokens have pairs."""
    exponent: float | None
    """Exponent of a power law of the ratio against the batch size. The power law is fitted at batch
    sizes of at least trend_from_batch_tokens. The exponent is null if there is no trend."""
    exponent_low: float | None
    """Lower end of the exponent's 90 % interval. It is null if there is no trend, or if the
    interval has no lower end."""
    exponent_high: float | None
    """Upper end of the exponent's 90 % interval. It is null if there is no trend, or if the
    interval has no upper end."""
    p_falling: float | None
    """p-value of the hypothesis that the ratio does not fall as the batch size grows. It is null if
    there is no trend."""
    note: str
    """The reason why there are no items. It is empty if there are items."""


class GrokkingCellsPage(ItemPage[CellTableRow]):
    """The cells of a grokking job. A cell is a task together with a form of softmax in the loss.
    There are two rows for each cell. The first half of the rows compares when runs reach sustained
    generalisation. The second half compares when the held-out accuracy is at least 95 % for the
    first time after a run has memorised the training rows."""

    table: Literal["cells"] = "cells"
    final: bool
    """True if the report of the job is final. Then no row is added or changed any more, unless the
    job is retried."""
    verdict: StudyVerdict
    """Verdict of the job. Each row has the verdict of its cell, and the `reason` for it."""


class GrokkingRunsPage(ItemPage[RunRow]):
    """The finished runs of a grokking job, sorted by cell, then by optimizer. In each cell, an
    optimizer's tuning runs come before its other runs."""

    table: Literal["runs"] = "runs"
    final: bool
    """True if the report of the job is final. Then no row is added or changed any more, unless the
    job is retried."""
    verdict: StudyVerdict
    """Verdict of the job."""


class Corpora(Resource):
    """The corpora that jobs can name."""

    items: tuple[Corpus, ...]


class NewCorpus(Resource):
    """A corpus to register: a name for a path on the server."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "novels", "path": "/data/novels"}]}
    )

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    """The name: 1 to 64 lower-case letters, digits, _ and -, with a letter or a digit first."""
    path: Annotated[str, Field(min_length=1, max_length=4096)]
    """A file or folder on the server. It must be, or lie in, one of the folders in the server's
    setting TELESCOPE_DATA_ROOTS."""
    text_field: Annotated[str, Field(min_length=1, max_length=256)] = "text"
    """Name of the field that holds the text in jsonl and parquet files."""


class SweepRunBody(Resource):
    """A finished run of a sweep. Fields that are not listed here are ignored."""

    width: Annotated[int, Field(ge=1, le=2**31 - 1)]
    lr: Annotated[float, Field(gt=0)]
    loss: float | Literal["nan", "inf"] | None
    """Final loss, above 0. For a run that diverged, it is null, "nan" or "inf"."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Weight decay. Either every row gives it, or no row does. If it is 0 in one row, it must be 0
    in all rows."""
    seed: int | None = None
    """Random seed. Either every row gives it, or no row does. Without seeds, repeated runs with
    equal width, lr and weight decay count as seeds 0, 1, ... in the order of their rows."""


class NewJudgement(Resource):
    """A sweep to judge: its finished runs, and the width to train."""

    model_config = ConfigDict(extra="forbid")

    rows: Annotated[list[SweepRunBody], Field(min_length=1, max_length=4000)]
    target_width: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """The width of the model to train. It must be at least the largest width in the rows; by
    default, it is twice the largest width."""


class Health(Resource):
    """Health of the service."""

    status: Literal["ok"] = "ok"
    parts: dict[str, str]
    """State of each part of the service: always "ok". If a part is missing, the response has status
    503 and names the part."""
