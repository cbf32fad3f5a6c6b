"""The sections of a telescoping document, typed and bounded: variants, search, options of
`schedule: paper`, limits.
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
    """Base of the entries of `sweep_over`. In a document, an entry is a name and the fields that
    differ from the job's own section; the JSON schema describes this form.
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
    """An architecture to compare; in a document, its name and its differences from the job's
    `model`.
    """

    name: str
    """Name of the variant in tables and pictures: 1 to 40 letters, digits, spaces or any of _.+-
    """
    model: AnyLadderModel

    part: ClassVar[Literal["model", "data"]] = "model"
    """The section of the job that this entry replaces."""

    @property
    def replacement(self) -> AnyLadderModel:
        """The complete section of this entry."""
        return self.model


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NamedData(WrittenAsDifferences):
    """A corpus or mixture to compare; in a document, its name and its differences from the job's
    `data`.
    """

    name: str
    """Name of the variant in tables and pictures: 1 to 40 letters, digits, spaces or any of _.+-
    """
    data: DataSpec

    part: ClassVar[Literal["model", "data"]] = "data"
    """The section of the job that this entry replaces."""

    @property
    def replacement(self) -> DataSpec:
        """The complete section of this entry."""
        return self.data


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SweepOver:
    """Architectures or corpora to compare, but not both. Each has ladders of its own."""

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
        """The entries for the section that varies."""
        return self.model or self.data or ()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Search:
    """Hyperparameters to sweep; a plain number fixes a hyperparameter."""

    lr: Range
    """Learning rate at the base width; in a Muon run, Muon's."""
    weight_decay: Range | NonNegative = 0.1
    """Weight decay at the base width, decoupled: a step multiplies a weight by 1 - learning rate x
    weight decay."""
    adamw_lr_ratio: Range | None = None
    """In a Muon run: AdamW's learning rate divided by Muon's, at the base width. By default the
    job's adamw_lr_ratio is kept."""
    momentum: Range | None = None
    """Muon's momentum or AdamW's beta1, from 0.001 to 0.999985; values are spaced evenly in the
    logarithm of 1 - momentum. By default optimizer_options sets it."""
    warmup_fraction: Range | None = None
    """Share of the steps during which the learning rate rises, at most 1. By default horizon sets
    it."""
    init_scale: Range | None = None
    """Factor on the initial values of hidden matrices. By default optimizer_options sets it."""


Points = Literal["strict", "paper", "odd_floor"]
Rounding = Literal["nearest", "ceil", "odd_up"]
Sampler = Literal["grid", "qmc", "gp", "tpe"]
Estimator = Literal["pooled", "per_level", "argmin"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PaperOptions:
    """Choices that Algorithm 1 of arXiv 2505.02222 leaves open; the defaults read it literally."""

    points: Points = "strict"
    """Rounding of the points per hyperparameter, whose number is multiplied by 4^(-1/k) per
    doubling of the width for k hyperparameters: strict to the nearest integer (8, 4, 2, 1 at
    k = 2), paper up to odd numbers (8, 5, 3, 1), odd_floor the same, but to at least `floor`.
    """
    floor: Literal[3, 5] = 3
    """Fewest points per hyperparameter under `points: odd_floor`. With 3, a drift out of the window
    goes unnoticed; with 5, a drift of one grid step is detected.
    """
    rounding: Rounding | None = None
    """Rounding of the number of points under `points: strict`; by default nearest."""
    narrow: Literal["halve", "root4", "extent"] = "halve"
    """Change of the grid step per doubling of the width: halve halves it; root4 multiplies it by
    4^(-1/k); extent keeps it, so that the window shrinks only with the number of points."""
    centre: Literal["argmin", "vertex", "richardson"] = "argmin"
    """Centre of the next window: argmin is the optimum that `select` chooses; vertex is the vertex
    of a quadratic through the level's runs, if there is one; richardson extrapolates the vertices
    of the last two levels under the drift law a/n.
    """
    edge: Literal["ignore", "extend", "recentre", "fail"] = "ignore"
    """Action if the optimum lies at a border of the grid: ignore does nothing; extend adds a value
    beyond the border; recentre moves the window by half its size; fail ends the ladder."""
    select: Literal["argmin", "seed_mean_fit"] = "argmin"
    """A level's optimum: argmin is the point with the lowest mean loss over the seeds;
    seed_mean_fit is the point nearest to the vertex of a quadratic through the level's runs, or the
    argmin if there is no vertex.
    """
    nc: Literal["fixed", "stop_when_flat"] = "fixed"
    """End of the climb: fixed is calibration_width; stop_when_flat is the first width at which the
    optimum has moved by at most one grid step since the previous level, or calibration_width if
    there is none."""
    sampler: Literal["auto"] | Sampler = "auto"
    """Sampler of a window: grid is the whole grid, qmc a Sobol sequence, gp Optuna's Gaussian
    process (half a second of planning per point), tpe Optuna's TPE; auto is grid for up to two
    hyperparameters, and tpe for more."""
    trials: Count | None = None
    """Points of a sampler other than grid at the base width, and a quarter as many after each
    doubling, but at least 4; by default 2^(k+3) for k hyperparameters."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Limits:
    """Limits of a job; its ladders share max_trials and max_flops equally."""

    max_parallel: Count | None = None
    """Trials that run at once; by default as many as there are workers."""
    max_trials: Count = 400
    """Trials of the job, not counting the coordinate check; each ladder may use an equal share."""
    max_base_runs: Positive | None = None
    """Budget of each ladder under `schedule: robust`, in units of a run at the base width; by
    default points^k x levels, for lr's points and k hyperparameters with 3 points or more, but at
    least 1.5 and at most 3 times the cost of the first four rounds.
    """
    max_flops: Positive | None = None
    """FLOPs of the job's trials, coordinate checks included; each ladder may use an equal share."""
    max_seconds: Positive | None = None
    """Seconds that the job runs, pauses excluded; once they have passed, no new stage begins."""
