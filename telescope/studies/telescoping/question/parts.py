"""The parts of a telescoping document, typed and bounded: variants, search, limits, options of the published rule."""

from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass

from telescope.studies.ranges import Range
from telescope.studies.telescoping.question.models import AnyLadder
from telescope.trials.data import DataSpec
from telescope.trials.types import STRICT, Count, NonNegative, Positive


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NamedModel:
    """One architecture of several; in a document, its name and what it has otherwise than the job's own model."""

    name: str
    model: AnyLadder

    part: ClassVar[Literal["model", "data"]] = "model"
    """The block of the job that it is instead of."""

    @property
    def whole(self) -> AnyLadder:
        """Its own block."""
        return self.model


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NamedData:
    """One text of several, or one mixture of them; in a document, its name and what it has otherwise than the job's own data."""

    name: str
    data: DataSpec

    part: ClassVar[Literal["model", "data"]] = "data"
    """The block of the job that it is instead of."""

    @property
    def whole(self) -> DataSpec:
        """Its own block."""
        return self.data


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SweepOver:
    """Architectures or texts to compare: each is given ladders of its own. One of the two."""

    model: tuple[NamedModel, ...] | None = None
    data: tuple[NamedData, ...] | None = None

    @property
    def block(self) -> Literal["model", "data"]:
        """The one that varies."""
        return "model" if self.model is not None else "data"

    @property
    def entries(self) -> tuple[NamedModel | NamedData, ...]:
        """Those of the block that varies."""
        return self.model or self.data or ()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Search:
    """What is swept; a plain number holds a hyperparameter fixed."""

    lr: Range
    weight_decay: Range | NonNegative = 0.1
    adamw_lr_ratio: Range | None = None
    """Muon's ladder only: AdamW's base lr over Muon's."""
    momentum: Range | None = None
    """Muon's momentum, AdamW's beta1; spaced evenly in the logarithm of 1 - momentum. Else as in optimizer_options."""
    warmup_fraction: Range | None = None
    """Share of the steps in which the learning rate rises; else as in horizon."""
    init_scale: Range | None = None
    """Factor on the initial values of hidden matrices; else as in optimizer_options."""


Points = Literal["strict", "paper", "odd_floor"]
Rounding = Literal["nearest", "ceil", "odd_up"]
Sampler = Literal["grid", "qmc", "gp", "tpe"]
Estimator = Literal["pooled", "per_level", "argmin"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PaperOptions:
    """What the published rule leaves open; the defaults are its literal reading."""

    points: Points = "strict"
    """Per hyperparameter and doubling, times 4^(-1/k): strict rounds to the nearest (8, 4, 2, 1 at k = 2), paper up to odd numbers
    (8, 5, 3, 1), odd_floor likewise, to no fewer than `floor`."""
    floor: Literal[3, 5] = 3
    """Least points per hyperparameter under points: odd_floor; 3 see no drift out of their window, 5 see one of a step."""
    rounding: Rounding | None = None
    """Of the points under points: strict; by default nearest."""
    narrow: Literal["halve", "root4", "extent"] = "halve"
    """Grid step per doubling: halved; times 4^(-1/k); or kept, so that the window shrinks only as the points do."""
    centre: Literal["argmin", "vertex", "richardson"] = "argmin"
    """Of the next window: the optimum selected; the vertex of a quadratic through the level's runs, where it has one; or the vertices of
    the last two levels carried on by a/n."""
    edge: Literal["ignore", "extend", "recentre", "fail"] = "ignore"
    """Where the optimum lies at a border of its grid: nothing; one more column beyond it; a window around it; or the ladder ends."""
    select: Literal["argmin", "seed_mean_fit"] = "argmin"
    """A level's optimum: the point of lowest mean over the seeds, or the one nearest to the vertex of a quadratic through them."""
    nc: Literal["fixed", "stop_when_flat"] = "fixed"
    """Climb to calibration_width, or stop where the optimum moved by no more than a step between the last two levels."""
    sampler: Literal["auto"] | Sampler = "auto"
    """What fills a window: its whole grid, a Sobol sequence, or Optuna's Gaussian process (half a second of planning per point) or TPE;
    auto is grid up to two hyperparameters, tpe above."""
    trials: Count | None = None
    """Points that a sampler tries at the base width, a quarter per doubling; by default 2^(k+3)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Limits:
    """Where to stop, resolved or not; shared out evenly where there are several ladders."""

    max_parallel: Count | None = None
    """Trials that run at once."""
    max_trials: Count = 400
    max_base_runs: Positive | None = None
    """What `robust` may spend per ladder, in runs at the base width; by default points^k x levels, but no less than
    1.5 and no more than 3 times its first four rounds."""
    max_flops: Positive | None = None
    max_seconds: Positive | None = None
    """Of the whole job; when they have passed, no new stage begins."""
