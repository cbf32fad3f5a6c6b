"""The blocks of a telescoping document, typed and bounded: variants, search, options of the
published rule, limits.
"""

from typing import ClassVar, Literal

from pydantic import GetJsonSchemaHandler
from pydantic.dataclasses import dataclass
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from telescope.studies.ranges import Range
from telescope.studies.telescoping.question.models import AnyLadder
from telescope.trials.data import DataSpec
from telescope.trials.types import STRICT, Count, NonNegative, Positive


class WrittenAsDifferences:
    """Base of the entries of `sweep_over`. In a document, an entry is a name and the fields that
    differ from the job's own block; this class gives the JSON schema of that form.
    """

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core)
        written = handler.resolve_ref_schema(schema)
        written |= {
            "properties": {"name": written["properties"]["name"]},
            "required": ["name"],
            "additionalProperties": True,
        }
        return schema


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NamedModel(WrittenAsDifferences):
    """An architecture to compare; in a document, its name and its differences from the job's
    `model`.
    """

    name: str
    """Name of the variant in tables and pictures: 1 to 40 letters, digits, spaces or any of _.+-
    """
    model: AnyLadder

    part: ClassVar[Literal["model", "data"]] = "model"
    """The block of the job that this entry replaces."""

    @property
    def replacement(self) -> AnyLadder:
        """The complete block of this entry."""
        return self.model


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NamedData(WrittenAsDifferences):
    """A text or mixture to compare; in a document, its name and its differences from the job's
    `data`.
    """

    name: str
    """Name of the variant in tables and pictures: 1 to 40 letters, digits, spaces or any of _.+-
    """
    data: DataSpec

    part: ClassVar[Literal["model", "data"]] = "data"
    """The block of the job that this entry replaces."""

    @property
    def replacement(self) -> DataSpec:
        """The complete block of this entry."""
        return self.data


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SweepOver:
    """Architectures to compare, or texts, but not both. Each gets its own ladders."""

    model: tuple[NamedModel, ...] | None = None
    """Two or more architectures, each with a name and the fields that differ from `model`."""
    data: tuple[NamedData, ...] | None = None
    """Two or more texts, each with a name and the fields that differ from `data`."""

    @property
    def block(self) -> Literal["model", "data"]:
        """The block that varies."""
        return "model" if self.model is not None else "data"

    @property
    def entries(self) -> tuple[NamedModel | NamedData, ...]:
        """The entries of the block that varies."""
        return self.model or self.data or ()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Search:
    """The swept hyperparameters; a plain number holds one fixed."""

    lr: Range
    """Learning rate at the base width; in a Muon run, Muon's."""
    weight_decay: Range | NonNegative = 0.1
    """Weight decay at the base width, decoupled: a step multiplies a weight by 1 - learning rate x
    weight decay."""
    adamw_lr_ratio: Range | None = None
    """In a Muon run: learning rate of the groups that AdamW trains over Muon's, at the base width.
    By default the job's adamw_lr_ratio is kept."""
    momentum: Range | None = None
    """Muon's momentum, AdamW's beta1; spaced evenly in the logarithm of 1 - momentum, from 0.001 to
    0.999985. By default optimizer_options sets it."""
    warmup_fraction: Range | None = None
    """Share of the steps in which the learning rate rises, at most 1. By default horizon sets it.
    """
    init_scale: Range | None = None
    """Factor on the initial values of hidden matrices. By default optimizer_options sets it."""


Points = Literal["strict", "paper", "odd_floor"]
Rounding = Literal["nearest", "ceil", "odd_up"]
Sampler = Literal["grid", "qmc", "gp", "tpe"]
Estimator = Literal["pooled", "per_level", "argmin"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PaperOptions:
    """Choices that the published rule leaves open; the defaults are its literal reading."""

    points: Points = "strict"
    """Points per hyperparameter, multiplied by 4^(-1/k) per doubling: strict rounds to the nearest
    (8, 4, 2, 1 at k = 2), paper up to odd numbers (8, 5, 3, 1), odd_floor also up to odd numbers,
    but to no fewer than `floor`.
    """
    floor: Literal[3, 5] = 3
    """Least points per hyperparameter under points: odd_floor; 3 detect no drift out of their
    window, 5 detect a drift of one step.
    """
    rounding: Rounding | None = None
    """Rounding of the points under points: strict; by default nearest."""
    narrow: Literal["halve", "root4", "extent"] = "halve"
    """Grid step per doubling: halved; times 4^(-1/k); or kept, so that the window shrinks only with
    the points."""
    centre: Literal["argmin", "vertex", "richardson"] = "argmin"
    """Centre of the next window: the selected optimum; the vertex of a quadratic through the
    level's runs, if it has one; or the vertices of the last two levels extrapolated by a/n.
    """
    edge: Literal["ignore", "extend", "recentre", "fail"] = "ignore"
    """Action where the optimum lies at a border of its grid: none; one more column beyond it; a new
    window around it; or the ladder ends."""
    select: Literal["argmin", "seed_mean_fit"] = "argmin"
    """A level's optimum: the point of lowest mean over the seeds, or the point nearest to the
    vertex of a quadratic through them.
    """
    nc: Literal["fixed", "stop_when_flat"] = "fixed"
    """Climb to calibration_width, or stop once the optimum moved by no more than a step between the
    last two levels."""
    sampler: Literal["auto"] | Sampler = "auto"
    """Sampler of a window: its whole grid, a Sobol sequence, or Optuna's Gaussian process (half a
    second of planning per point) or TPE; auto is grid up to two hyperparameters, tpe above."""
    trials: Count | None = None
    """Points of a sampler at the base width, a quarter as many per doubling; by default 2^(k+3)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Limits:
    """Limits of a job, resolved or not; several ladders share them equally."""

    max_parallel: Count | None = None
    """Trials that run at once; by default as many as there are workers."""
    max_trials: Count = 400
    """Trials of the job, not counting the coordinate check; each ladder may use an equal share."""
    max_base_runs: Positive | None = None
    """Budget of `robust` per ladder, in runs at the base width; by default points^k x levels, but
    at least 1.5 and at most 3 times its first four rounds.
    """
    max_flops: Positive | None = None
    """FLOPs of the job's trials; each ladder may use an equal share."""
    max_seconds: Positive | None = None
    """Seconds that the job runs, pauses excluded; once they have passed, no new stage begins."""
