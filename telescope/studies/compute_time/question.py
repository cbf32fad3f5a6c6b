"""The question of a compute-time study: a user's document and its parts, typed and bounded."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from telescope.studies.ranges import Range, Width
from telescope.trials.data import DataSpec
from telescope.trials.model import Architecture, ModelSpec
from telescope.trials.optimizer import OptimizerOptions
from telescope.trials.presets import Preset
from telescope.trials.types import STRICT, Count, NonNegative, OptimizerName, Parametrisation, Positive

MOST_TRIALS = 100_000  # of a study
Reading = Literal["constant", "cooldown", "full"]
READ = {
    "constant": "off the curve of one run at a constant learning rate, which never cools down",
    "cooldown": "from the final losses of cooldowns that branch off one run at a constant learning rate",
    "full": "from the final losses of separate full runs, each with a schedule of its own length",
}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BatchModel(Preset):
    """The model that is trained at every batch size."""

    width: Width
    base_width: Width | None = None
    """The width that learning rates are relative to; by default its own. Hyperparameters of a telescope job are relative to that job's."""

    @property
    def spec(self) -> ModelSpec:
        """As trials have it."""
        shared = {name: getattr(self, name) for name in Architecture.__dataclass_fields__}
        return ModelSpec(width=self.width, base_width=self.base_width or self.width, **shared)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Doublings:
    """Batch sizes in tokens: low, twice that, and so on up to high."""

    low: Count
    high: Count

    @property
    def values(self) -> tuple[int, ...]:
        """All of them."""
        return tuple(self.low << i for i in range((self.high // self.low).bit_length()))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Runs:
    """How long the runs are, and how a loss is read off them."""

    tokens: Count
    """Of each run, at first."""
    doublings: Annotated[int, Field(ge=0, le=8)] = 2
    """How often a run may be doubled that has not come to the lowest target loss."""
    reading: Reading = "constant"
    """constant: off the curve at a constant learning rate; cooldown: from cooldowns that branch off it; full: from separate full runs."""
    cooldown_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    """Under cooldown: last share of each run, in which the learning rate falls to zero along a line."""
    lengths: Annotated[int, Field(ge=2, le=64)] = 6
    """Under cooldown and full: lengths per batch and seed, half an octave apart, `tokens` the longest at first."""
    warmup_tokens: Count | None = None
    """By default a twentieth of `tokens`."""
    evaluations: Annotated[int, Field(ge=20, le=200)] = 100
    """Under constant: held-out losses along `tokens`."""
    evaluation_tokens: Count = 4096
    """Held-out tokens that each is measured on."""
    micro_batch_tokens: Count | None = None
    """Tokens per forward pass, where a batch does not fit into memory; larger batches are taken in pieces of it."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Tuning:
    """Learning rates, and weight decays, that every optimizer tries on short runs of their own."""

    lr: Range
    """The same for all optimizers; where the best lies at an end, the grid is carried on beyond it."""
    weight_decay: NonNegative | tuple[NonNegative, ...] = 0.1
    """One, or several to be compared."""
    batch_tokens: tuple[Count, ...] = ()
    """Batches to tune at; by default all. Between them learning rates are interpolated, and marked so."""
    tokens: Count | None = None
    """Of each such run; by default `runs.tokens`."""
    extensions: Annotated[int, Field(ge=0, le=8)] = 3
    """How often the grid may be carried on, two points at a time."""
    seeds: Count = 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Given:
    """Hyperparameters of one optimizer at one batch."""

    optimizer: OptimizerName
    batch_tokens: Count
    lr: Positive
    weight_decay: NonNegative = 0.1
    job: str = ""
    """The telescope job that found them; empty where a user did."""
    mark: str = ""
    """What is to be known about them."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FromJobs:
    """Telescope jobs, each at a batch size of its own, whose answers are the hyperparameters."""

    jobs: Annotated[tuple[str, ...], Field(min_length=1)]
    force: bool = False
    """Take those of another model, corpus or parametrisation too; the result is marked."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Hardware:
    """Devices that the frontier is asked for; a step's time is then modelled (telescope.statistics.step_time)."""

    device_flops_per_second: Positive
    """Of one device at its peak, in the precision that is trained in: 989e12 for an H100 in bf16."""
    share_of_peak: Annotated[float, Field(gt=0, le=1)]
    """The share of it that training reaches: 0.4 for 40 %."""
    bandwidth_bytes_per_second: Positive
    """Out of each device: 50e9 for 400 Gbit/s."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Devices:
    """What the frontier's device counts are, and which devices."""

    counts: tuple[Count, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    """Those among them are used that share a batch equally."""
    hardware: Hardware | None = None
    """By default a device is a worker of this installation: measured alone, modelled together from that."""
    bandwidth_bytes_per_second: Positive = 1.25e9
    """Between such workers; 10 Gbit/s by default."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BatchLimits:
    """Where to stop."""

    max_parallel: Count | None = None
    """Trials that run at once."""
    max_trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] = 2000
    """A study that might need more is refused."""
    max_seconds: Positive | None = None
    """Of the whole job; when they have passed, no new stage begins."""


def ascending(values: tuple[int, ...] | Doublings) -> tuple[int, ...]:
    """Batch sizes in ascending order."""
    return values.values if isinstance(values, Doublings) else tuple(sorted(values))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Question:
    """The document of a compute-time job."""

    kind: Literal["compute_time"] = "compute_time"
    name: str = "compute_time"
    optimizer: OptimizerName | tuple[OptimizerName, ...] = ("muon", "adamw")
    adamw_lr_ratio: Positive = 0.5
    parametrisation: Parametrisation = "mup"
    optimizer_options: OptimizerOptions = field(default_factory=OptimizerOptions)
    model: BatchModel
    data: DataSpec
    batch_tokens: tuple[Count, ...] | Doublings
    """Batch sizes, listed, or from `low` to `high` by doublings."""
    target_losses: tuple[Positive, ...] = ()
    """Held-out losses to be reached; the report answers to each, and runs end below the lowest. Others can be asked for afterwards. Without
    any, each run is as long as `runs.tokens`."""
    runs: Runs
    tuning: Tuning | None = None
    """Search for the hyperparameters here; or give them, or name the jobs that found them."""
    given: tuple[Given, ...] = ()
    from_jobs: FromJobs | None = None
    seeds: Count = 2
    """Runs per optimizer and batch, with the same seeds and so the same data for both optimizers; intervals need two at least."""
    devices: Devices = field(default_factory=Devices)
    limits: BatchLimits = field(default_factory=BatchLimits)
    reuse: bool = True
    """Take over finished runs of other jobs that are the same in every respect, instead of training them again; they cost nothing."""

    @property
    def optimizers(self) -> tuple[OptimizerName, ...]:
        """Those to compare."""
        return (self.optimizer,) if isinstance(self.optimizer, str) else self.optimizer

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes in tokens, in ascending order."""
        return ascending(self.batch_tokens)

    @property
    def lowest(self) -> float | None:
        """The lowest target loss."""
        return min(self.target_losses, default=None)

    @property
    def tuned_batches(self) -> tuple[int, ...]:
        """Those at which hyperparameters are searched for."""
        return () if self.tuning is None else tuple(sorted(self.tuning.batch_tokens)) or self.batches
