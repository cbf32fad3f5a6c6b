"""Sections of a telescoping document: the variants, the search, the options of `schedule: paper`,
and the limits.

A *variant* is one of the architectures or corpora that a job compares. A *ladder* searches the
hyperparameters of one optimizer at increasing widths. Each variant has a ladder per optimizer.
"""

from typing import ClassVar, Literal

from pydantic import GetJsonSchemaHandler
from pydantic.dataclasses import dataclass
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from telescope.studies.ranges import Range
from telescope.studies.telescoping.question.models import AnyLadderModel
from telescope.trials.data import DataSpec
from telescope.trials.types import STRICT, Count, NonNegative, Positive


class WrittenAsDifferences:
    """Base class of the entries of `sweep_over`. In a document, an entry consists of a name and the
    fields that differ from the job's section. The JSON schema describes only the name, and allows
    all other fields.
    """

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core)
        entry_schema = handler.resolve_ref_schema(schema)
        entry_schema |= {
            "properties": {"name": entry_schema["properties"]["name"]},
            "required": ["name"],
            "additionalProperties": True,
        }
        return schema


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NamedModel(WrittenAsDifferences):
    """An architecture to compare. In a document, the entry has a name and the fields that differ
    from the job's `model`.
    """

    name: str
    """Name of the variant in tables and pictures: 1 to 40 letters, digits, spaces or any of _.+-
    (no space at either end)."""
    model: AnyLadderModel

    part: ClassVar[Literal["model", "data"]] = "model"
    """The section of the job that this entry replaces."""

    @property
    def replacement(self) -> AnyLadderModel:
        """The complete section of this entry."""
        return self.model


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NamedData(WrittenAsDifferences):
    """A corpus or mixture to compare. In a document, the entry has a name and the fields that
    differ from the job's `data`.
    """

    name: str
    """Name of the variant in tables and pictures: 1 to 40 letters, digits, spaces or any of _.+-
    (no space at either end)."""
    data: DataSpec

    part: ClassVar[Literal["model", "data"]] = "data"
    """The section of the job that this entry replaces."""

    @property
    def replacement(self) -> DataSpec:
        """The complete section of this entry."""
        return self.data


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SweepOver:
    """Architectures or corpora to compare, but not both. Each has its own ladder per optimizer."""

    model: tuple[NamedModel, ...] | None = None
    """Two or more architectures, each with a name and the fields that differ from `model`."""
    data: tuple[NamedData, ...] | None = None
    """Two or more corpora, each with a name and the fields that differ from `data`."""

    @property
    def section(self) -> Literal["model", "data"]:
        """The section that varies."""
        return "model" if self.model is not None else "data"

    @property
    def entries(self) -> tuple[NamedModel | NamedData, ...]:
        """The entries of the section that varies."""
        return self.model or self.data or ()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Search:
    """Hyperparameters to sweep. A plain number instead of a range fixes the weight decay."""

    lr: Range
    """Learning rate at the base width. Under `lr_convention: absolute`, it is the learning rate
    before multiplication by the factor for the width. In a Muon run, it is Muon's learning rate."""
    weight_decay: Range | NonNegative = 0.1
    """Weight decay at the base width. It is decoupled: each step multiplies a weight by
    1 - (learning rate x weight decay)."""
    adamw_lr_ratio: Range | None = None
    """In a Muon run, AdamW's learning rate divided by Muon's, at the base width. By default, it is
    not swept, and the job's adamw_lr_ratio holds."""
    momentum: Range | None = None
    """Muon's momentum or AdamW's beta1, from 0.001 to 0.999985. Values are spaced evenly in the
    logarithm of 1 - momentum. By default, it is not swept, and optimizer_options sets it."""
    warmup_fraction: Range | None = None
    """Share of the steps during which the learning rate rises, at most 1. By default, it is not
    swept, and horizon sets it."""
    init_scale: Range | None = None
    """Factor on the initial values of hidden matrices. By default, it is not swept, and
    optimizer_options sets it."""


Points = Literal["strict", "paper", "odd_floor"]
Rounding = Literal["nearest", "ceil", "odd_up"]
Sampler = Literal["grid", "qmc", "gp", "tpe"]
Estimator = Literal["pooled", "per_level", "argmin"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PaperOptions:
    """Choices that Algorithm 1 of arXiv 2505.02222 leaves open. The defaults follow the algorithm
    literally, except that `sampler` replaces the grid for three swept hyperparameters or more.

    The algorithm runs a grid of points at the base width. At each doubling of the width, it runs
    fewer points in a smaller *window*, a range of each hyperparameter around the optimum of the
    previous width. Below, k is the number of hyperparameters with more than one point.
    """

    points: Points = "strict"
    """How the number of points per hyperparameter is rounded. Each doubling of the width multiplies
    this number by 4^(-1/k), for k swept hyperparameters. strict rounds it as `rounding` says, by
    default to the nearest integer (8, 4, 2, 1 at k = 2); paper rounds it up to an odd number (8, 5,
    3, 1); odd_floor rounds it up to an odd number, but to at least `floor`.
    """
    floor: Literal[3, 5] = 3
    """Fewest points per hyperparameter under `points: odd_floor`. With 3 points, an optimum that
    drifts by one grid step lies at the end of the window; with 5 points, it lies inside the window.
    """
    rounding: Rounding | None = None
    """Rounding of the number of points under `points: strict`: nearest rounds to the nearest
    integer, ceil rounds up, odd_up rounds up to an odd number. By default nearest."""
    narrow: Literal["halve", "root4", "extent"] = "halve"
    """Change of the grid step at each doubling of the width: halve halves it; root4 multiplies it
    by 4^(-1/k), for k swept hyperparameters; extent keeps it, so that a window shrinks only because
    it has fewer points."""
    centre: Literal["argmin", "vertex", "richardson"] = "argmin"
    """Centre of the window at the next width. argmin is the optimum that `select` chooses; vertex
    is the vertex of a quadratic fitted to the runs of the current width, if there is one, otherwise
    as argmin; richardson extrapolates the vertices of the last two widths in 1/width, if there are
    two, otherwise as vertex.
    """
    edge: Literal["ignore", "extend", "recentre", "fail"] = "ignore"
    """Action if the optimum lies at a border of the grid: ignore does nothing; extend adds a value
    beyond the border; recentre moves the window by half its size; fail ends the ladder (the search
    with one optimizer)."""
    select: Literal["argmin", "seed_mean_fit"] = "argmin"
    """Choice of the optimum at a width. argmin is the point with the lowest mean loss over the
    seeds; seed_mean_fit is the point nearest to the vertex of a quadratic fitted to the runs, or
    the argmin if there is no vertex.
    """
    nc: Literal["fixed", "stop_when_flat"] = "fixed"
    """The last width of the search. fixed is calibration_width; stop_when_flat is the first width
    at which the optimum has moved by at most one grid step since the previous width, or
    calibration_width if there is no such width. A width counts only if its optimum lies inside the
    values tried, and if each swept hyperparameter has three values or more there."""
    sampler: Literal["auto"] | Sampler = "auto"
    """How a window is filled with points: grid is the whole grid, qmc a Sobol sequence, gp Optuna's
    Gaussian process (half a second of planning per point), tpe Optuna's TPE; auto is grid for up to
    two swept hyperparameters, and tpe for more."""
    trials: Count | None = None
    """Number of points at the base width for a sampler other than grid; by default 2^(k+3), for k
    swept hyperparameters. Each doubling of the width divides this number by 4, rounding down, but
    not below 4; a number below 4 stays the same."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Limits:
    """Limits of a job. If the job has several ladders, each may use an equal share of max_trials
    and max_flops.
    """

    max_parallel: Count | None = None
    """Largest number of trials of the job that run at once. By default, the job has no such
    limit."""
    max_trials: Count = 400
    """Largest number of trials of the job, not counting the coordinate check. Each ladder (the
    search with one optimizer) may use an equal share."""
    max_base_runs: Positive | None = None
    """Budget of each ladder (the search with one optimizer) under `schedule: robust`, in units of a
    run at the base width. The default is points^k x widths, where points is the number of points of
    lr, k the number of hyperparameters with 3 points or more, and widths the number of widths. But
    the default is at least 1.5 and at most 3 times the cost of the first four rounds of the search.
    """
    max_flops: Positive | None = None
    """Largest number of FLOPs of the job's trials and coordinate checks. Each ladder (the search
    with one optimizer) may use an equal share."""
    max_seconds: Positive | None = None
    """Number of seconds, pauses excluded, after which no new stage (a set of trials that are
    planned together) begins. A stage that has begun is still completed."""
