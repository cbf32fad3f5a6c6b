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

MOST_TRIALS = 100_000  # the highest limit on the trials of a study
Reading = Literal["constant", "cooldown", "full"]
READING_TEXTS = {
    "constant": "along the curve of a run at a constant learning rate, without cooldown",
    "cooldown": "at the end of cooldowns that branch off a run at a constant learning rate",
    "full": "at the end of separate runs, each with a learning-rate schedule of its own length",
}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BatchModel(Preset):
    """The model that is trained at every batch size."""

    width: Width
    """Width of the model in every run."""
    base_width: Width | None = None
    """The width that hyperparameters are stated for; by default `width`. A telescope job states
    hyperparameters for its own base width."""

    @property
    def spec(self) -> ModelSpec:
        """The model as trials specify it."""
        shared = {name: getattr(self, name) for name in Architecture.__dataclass_fields__}
        return ModelSpec(width=self.width, base_width=self.base_width or self.width, **shared)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Doublings:
    """Batch sizes in tokens: `low` and its doublings up to `high`."""

    low: Count
    """Smallest batch, in tokens; a multiple of the context."""
    high: Count
    """Upper limit of the batches, in tokens; the largest batch may be smaller."""

    @property
    def values(self) -> tuple[int, ...]:
        """The batch sizes, ascending."""
        return tuple(self.low << i for i in range((self.high // self.low).bit_length()))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Runs:
    """The length of the runs, and how losses are read off them."""

    tokens: Count
    """Tokens of a run, or of the longest of several lengths, before any doubling: at least 20 steps
    of the largest batch."""
    doublings: Annotated[int, Field(ge=0, le=8)] = 2
    """Maximal number of times that a run is doubled if it has not reached the lowest target loss;
    under constant, a loss 3 % below it."""
    reading: Reading = "constant"
    """How losses are read off runs: constant, along the curve of a run at a constant learning
    rate; cooldown, at the end of cooldowns that branch off such a run; full, at the end of
    separate runs."""
    cooldown_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    """Under cooldown: share of a run, at its end, in which the learning rate falls linearly to 0.
    """
    lengths: Annotated[int, Field(ge=2, le=64)] = 6
    """Under cooldown and full: number of run lengths per batch and seed, half an octave apart;
    before any doubling, the longest is `tokens`."""
    warmup_tokens: Count | None = None
    """Tokens of the warm-up, at most half of `tokens`; by default a twentieth of `tokens`."""
    evaluations: Annotated[int, Field(ge=20, le=200)] = 100
    """Under constant: number of held-out losses that a run measures per `tokens`."""
    evaluation_tokens: Count = 4096
    """Held-out tokens per evaluation, the same for every run."""
    micro_batch_tokens: Count | None = None
    """Tokens per forward pass, for batches that do not fit into memory. Larger batches are split
    into micro-batches of this size, which must divide every larger batch and be a multiple of
    the context."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Tuning:
    """The search for hyperparameters: the learning rates and weight decays that each optimizer
    tries in short runs.
    """

    lr: Range
    """Learning rates, the same for all optimizers. If the best lies at an end of the grid, the grid
    is extended beyond that end, unless `extend` is false."""
    weight_decay: NonNegative | tuple[NonNegative, ...] = 0.1
    """Weight decay: a value, or several to compare."""
    batch_tokens: tuple[Count, ...] = ()
    """Batches to tune at, in tokens; by default all. Between tuned batches, hyperparameters are
    interpolated; beyond them, the values of the nearest tuned batch are used. The report says so.
    """
    tokens: Count | None = None
    """Tokens of each tuning run; by default `runs.tokens`."""
    extensions: Annotated[int, Field(ge=0, le=8)] = 3
    """Maximal number of times that the grid is extended, by two points each time."""
    seeds: Count = 1
    """Runs per learning rate and weight decay."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Given:
    """Hyperparameters of an optimizer at a batch."""

    optimizer: OptimizerName
    """Optimizer that the hyperparameters are for."""
    batch_tokens: Count
    """Batch that the hyperparameters are for, in tokens. Between given batches, hyperparameters are
    interpolated; beyond them, the values of the nearest given batch are used. The report says so.
    """
    lr: Positive
    """Learning rate at the base width; in a Muon run, Muon's."""
    weight_decay: NonNegative = 0.1
    """Weight decay at the base width."""
    job: str = ""
    """Id of the telescope job that found the hyperparameters; empty if there is no job."""
    mark: str = ""
    """A reservation about the hyperparameters; the report repeats it, and the verdict is
    unresolved."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FromJobs:
    """Telescope jobs, each at its own batch size, whose answers give the hyperparameters."""

    jobs: Annotated[tuple[str, ...], Field(min_length=1)]
    """Ids of the jobs."""
    force: bool = False
    """Accept jobs that differ in model, base width, corpus, context, parametrisation or optimizer
    options too; the report then says so, and the verdict is unresolved."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Hardware:
    """A description of the devices, from which the time of a step is modelled."""

    device_flops_per_second: Positive
    """Peak FLOP/s of a device, in the training precision: 989e12 for an H100 in bf16."""
    share_of_peak: Annotated[float, Field(gt=0, le=1)]
    """Share of the peak that training reaches: 0.4 for 40 %."""
    bandwidth_bytes_per_second: Positive
    """Bandwidth out of each device, in bytes per second: 50e9 for 400 Gbit/s."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Devices:
    """The numbers of devices that hours are reported for, and a description of the devices."""

    counts: tuple[Count, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    """Numbers of devices; at each batch, only numbers that divide its sequences evenly are used."""
    hardware: Hardware | None = None
    """Description of the devices. By default a device is a worker of this installation: the time of
    a step is measured on one worker and modelled for several."""
    bandwidth_bytes_per_second: Positive = 1.25e9
    """Bandwidth between workers of this installation, in bytes per second; by default 10 Gbit/s."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BatchLimits:
    """Limits of a compute-time job."""

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
    """In a Muon run: AdamW's learning rate divided by Muon's, at the base width."""
    parametrisation: Parametrisation = "mup"
    """Rules by which hyperparameters change from base_width to width: mup is muP, in spectral form
    for Muon; mup-paper is the table of arXiv 2505.02222 as printed; standard scales initial values
    only."""
    optimizer_options: OptimizerOptions = field(default_factory=OptimizerOptions)
    """Optimizer options that the study does not tune."""
    model: BatchModel
    """The model that every run trains."""
    data: DataSpec
    """Corpus or mixture that the runs train on, and its tokenizer."""
    batch_tokens: tuple[Count, ...] | Doublings
    """Batch sizes in tokens, multiples of the context: a list of at most 64, or doublings from
    `low` up to `high`."""
    target_losses: tuple[Positive, ...] = ()
    """Held-out losses to reach, in nats per token. The report has an answer for each; a run
    that has not reached the lowest is doubled, up to `runs.doublings` times. Other losses can be
    queried afterwards. Without target losses, no run is doubled.
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
    """Number of seeds per optimizer and batch. Both optimizers use the same seeds, hence the same
    data; intervals need at least two seeds."""
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
        """The lowest target loss; None without target losses."""
        return min(self.target_losses, default=None)

    @property
    def tuned_batches(self) -> tuple[int, ...]:
        """The batches at which hyperparameters are tuned, ascending; empty without tuning."""
        return (
            () if self.tuning is None else tuple(sorted(self.tuning.batch_tokens)) or self.batches
        )
