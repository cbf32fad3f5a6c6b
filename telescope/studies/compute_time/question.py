"""The question of a compute-time study: the user's document and its parts, typed and bounded."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from telescope.studies.ranges import Range, Width
from telescope.trials.architecture import Architecture
from telescope.trials.data import DataSpec
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerOptions
from telescope.trials.presets import Preset
from telescope.trials.types import (
    STRICT,
    Count,
    NonNegative,
    OptimizerName,
    Parametrisation,
    Positive,
)

MOST_TRIALS = 100_000  # of a study
Reading = Literal["constant", "cooldown", "full"]
READ = {
    "constant": "along the curve of a run at a constant learning rate, without cooldown",
    "cooldown": (
        "from the final losses of cooldowns that branch off a run at a constant learning rate"
    ),
    "full": "from the final losses of separate runs, each with a schedule of its own length",
}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BatchModel(Preset):
    """The model that is trained at every batch size."""

    width: Width
    """Width of the model in every run."""
    base_width: Width | None = None
    """The width that learning rates are relative to; by default `width`. Hyperparameters of a
    telescope job are relative to that job's base width."""

    @property
    def spec(self) -> ModelSpec:
        """The model as trials specify it."""
        shared = {name: getattr(self, name) for name in Architecture.__dataclass_fields__}
        return ModelSpec(width=self.width, base_width=self.base_width or self.width, **shared)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Doublings:
    """Batch sizes in tokens: low, twice that, and so on up to high."""

    low: Count
    """Smallest batch, in tokens; a multiple of the context."""
    high: Count
    """Largest batch, in tokens; the last doubling of `low` at or below it is used."""

    @property
    def values(self) -> tuple[int, ...]:
        """The batch sizes, ascending."""
        return tuple(self.low << i for i in range((self.high // self.low).bit_length()))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Runs:
    """The length of the runs, and the reading of losses."""

    tokens: Count
    """Tokens of each run, before any doubling; at least 20 steps of the largest batch."""
    doublings: Annotated[int, Field(ge=0, le=8)] = 2
    """Maximal number of times that a run is doubled if it has not reached the lowest target loss.
    """
    reading: Reading = "constant"
    """constant: along the curve at a constant learning rate; cooldown: from cooldowns that branch
    off it; full: from separate full runs."""
    cooldown_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    """Under cooldown: the last share of each run, in which the learning rate falls linearly to 0.
    """
    lengths: Annotated[int, Field(ge=2, le=64)] = 6
    """Under cooldown and full: lengths per batch and seed, half an octave apart; before any
    doubling, `tokens` is the longest."""
    warmup_tokens: Count | None = None
    """Tokens of the warm-up, at most half of `tokens`; by default a twentieth of them."""
    evaluations: Annotated[int, Field(ge=20, le=200)] = 100
    """Under constant: number of held-out losses along `tokens`."""
    evaluation_tokens: Count = 4096
    """Held-out tokens per evaluation, the same for every run."""
    micro_batch_tokens: Count | None = None
    """Tokens per forward pass, for batches that do not fit into memory. Larger batches are split
    into micro-batches of this size, which must divide each of them and be a multiple of the
    context."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Tuning:
    """The search: learning rates and weight decays that every optimizer tries in short runs."""

    lr: Range
    """Learning rates, the same for all optimizers; where the best lies at an end, the grid is
    extended beyond it."""
    weight_decay: NonNegative | tuple[NonNegative, ...] = 0.1
    """Weight decay: a value, or several to compare."""
    batch_tokens: tuple[Count, ...] = ()
    """Batches to tune at, in tokens; by default all. At other batches hyperparameters are
    interpolated between the nearest two, or taken from the nearest one, and marked."""
    tokens: Count | None = None
    """Tokens of each tuning run; by default `runs.tokens`."""
    extensions: Annotated[int, Field(ge=0, le=8)] = 3
    """Maximal number of times that the grid is extended, by two points each."""
    seeds: Count = 1
    """Runs per learning rate and weight decay."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Given:
    """Hyperparameters of an optimizer at a batch."""

    optimizer: OptimizerName
    """Optimizer that the hyperparameters are for."""
    batch_tokens: Count
    """Batch that they are for, in tokens. At other batches they are interpolated between the
    nearest two, or taken from the nearest one, and marked."""
    lr: Positive
    """Learning rate at the base width; of Muon in a Muon run."""
    weight_decay: NonNegative = 0.1
    """Weight decay at the base width."""
    job: str = ""
    """Id of the telescope job that found the hyperparameters; empty if the user gives them."""
    mark: str = ""
    """A reservation about the hyperparameters, which the report repeats."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FromJobs:
    """Telescope jobs, each at its own batch size, whose answers give the hyperparameters."""

    jobs: Annotated[tuple[str, ...], Field(min_length=1)]
    """Ids of the jobs."""
    force: bool = False
    """Accept jobs of another model, corpus or parametrisation too; the result is marked."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Hardware:
    """The devices of the frontier; the time of a step is then modelled."""

    device_flops_per_second: Positive
    """Peak FLOP/s of a device, in the training precision: 989e12 for an H100 in bf16."""
    share_of_peak: Annotated[float, Field(gt=0, le=1)]
    """Share of the peak that training reaches: 0.4 for 40 %."""
    bandwidth_bytes_per_second: Positive
    """Bandwidth out of each device, in bytes per second: 50e9 for 400 Gbit/s."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Devices:
    """The device counts of the frontier, and the devices."""

    counts: tuple[Count, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    """Numbers of devices; at each batch, the numbers that divide its sequences evenly are used."""
    hardware: Hardware | None = None
    """Description of the devices. By default a device is a worker of this installation, whose step
    is measured; several in parallel are modelled from that."""
    bandwidth_bytes_per_second: Positive = 1.25e9
    """Bandwidth between workers of this installation, in bytes per second; by default 10 Gbit/s."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BatchLimits:
    """Limits of a job."""

    max_parallel: Count | None = None
    """Trials that run at once; by default as many as there are workers."""
    max_trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] = 2000
    """Trials of the job; a study that might need more is refused."""
    max_seconds: Positive | None = None
    """Seconds that the job runs, pauses excluded; once they have passed, no new stage begins."""


def ascending(values: tuple[int, ...] | Doublings) -> tuple[int, ...]:
    """Batch sizes, listed or as doublings, in ascending order."""
    return values.values if isinstance(values, Doublings) else tuple(sorted(values))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Question:
    """The document of a compute-time job."""

    kind: Literal["compute_time"] = "compute_time"
    """Kind of the study: optimizers compared over batch sizes."""
    name: str = "compute_time"
    """Name of the job in lists and pictures."""
    optimizer: OptimizerName | tuple[OptimizerName, ...] = ("muon", "adamw")
    """Optimizers to compare, or a single one."""
    adamw_lr_ratio: Positive = 0.5
    """In a Muon run: learning rate of the groups that AdamW trains over Muon's, at the base width.
    """
    parametrisation: Parametrisation = "mup"
    """Rules by which hyperparameters change from base_width to width: mup is muP, in spectral form
    for Muon; mup-paper is the table of arXiv 2505.02222 as printed; standard scales initial values
    only."""
    optimizer_options: OptimizerOptions = field(default_factory=OptimizerOptions)
    """Options of the optimizers that the study does not tune."""
    model: BatchModel
    """The model that every run trains."""
    data: DataSpec
    """Text that the runs train on, and its tokenizer."""
    batch_tokens: tuple[Count, ...] | Doublings
    """Batch sizes in tokens: a list of at most 64, or doublings from `low` to `high`; multiples of
    the context."""
    target_losses: tuple[Positive, ...] = ()
    """Held-out losses to reach, in nats per token; the report answers each, and runs end below the
    lowest. Others can be queried afterwards. Without any, each run is as long as `runs.tokens`.
    """
    runs: Runs
    """Length of the runs, and how losses are read off them."""
    tuning: Tuning | None = None
    """Search for the hyperparameters in this job; alternatively set `given` or `from_jobs`."""
    given: tuple[Given, ...] = ()
    """Hyperparameters that are already known, for at least one batch of each optimizer."""
    from_jobs: FromJobs | None = None
    """Finished telescope jobs whose answers give the hyperparameters."""
    seeds: Count = 2
    """Runs per optimizer and batch, with the same seeds, hence the same data, for both optimizers;
    intervals need at least two."""
    devices: Devices = field(default_factory=Devices)
    """Devices that hours are reported for."""
    limits: BatchLimits = field(default_factory=BatchLimits)
    """Limits of the job."""
    reuse: bool = True
    """Reuse identical finished runs of other jobs instead of training them again; reused runs cost
    nothing."""

    @property
    def optimizers(self) -> tuple[OptimizerName, ...]:
        """The optimizers to compare."""
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
        """The batches at which hyperparameters are tuned, ascending."""
        return (
            () if self.tuning is None else tuple(sorted(self.tuning.batch_tokens)) or self.batches
        )
