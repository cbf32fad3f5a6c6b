"""The question of a compute-time study: the types of the user's document and of its parts.

The study compares the tokens and hours that optimizers need to reach a loss, at several batch
sizes. In the descriptions of fields, a *batch* is a batch size in tokens, and the *context* is
`data.context`, the length of a training sequence in tokens. A *telescope job* has the kind
`telescope`."""

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

MOST_TRIALS = 100_000  # largest value of `limits.max_trials`
Reading = Literal["constant", "cooldown", "full"]  # see `Runs.reading`
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
    """The width that learning rates and weight decays are stated for; by default `width`. Values
    that come from a telescope job are stated for that job's base width."""

    @property
    def spec(self) -> ModelSpec:
        """The specification of the model for trials."""
        shared = {name: getattr(self, name) for name in Architecture.__dataclass_fields__}
        return ModelSpec(width=self.width, base_width=self.base_width or self.width, **shared)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Doublings:
    """Batch sizes in tokens: `low` and its doublings up to `high`."""

    low: Count
    """Smallest batch, in tokens; a multiple of the context."""
    high: Count
    """Upper limit of the batches, in tokens. The largest batch is the last doubling up to this
    limit."""

    @property
    def values(self) -> tuple[int, ...]:
        """The batch sizes, ascending."""
        return tuple(self.low << i for i in range((self.high // self.low).bit_length()))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Runs:
    """Length, schedule and evaluation of the runs, and how losses are read off them."""

    tokens: Count
    """Tokens of the longest run before any doubling; at least 20 times the largest batch."""
    doublings: Annotated[int, Field(ge=0, le=8)] = 2
    """Maximal number of times that the length of runs is doubled, for each optimizer, batch and
    seed. The length is doubled until the final loss of a run is at or below the lowest target loss.
    With `reading: constant`, the final loss must be at least 3 % below the lowest target loss. If a
    run at a constant learning rate diverges, its length is not doubled."""
    reading: Reading = "constant"
    """How losses are read off runs. `constant` reads them along the curve of a run at a constant
    learning rate. `cooldown` reads them at the end of cooldowns, which branch off such a run and
    decay the learning rate to 0. `full` reads them at the end of separate runs of several lengths,
    which decay the learning rate to 0."""
    cooldown_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    """With `reading: cooldown`: share of a run's steps, at the end, in which the learning rate
    falls linearly to 0. With `reading: full`, only `lengths` uses this share."""
    lengths: Annotated[int, Field(ge=2, le=64)] = 6
    """With `reading: cooldown` or `full`: maximal number of run lengths per batch and seed, before
    any doubling. The longest length is `tokens`. Each other length is the next longer length
    divided by sqrt(2). A length is left out if its last part (the share `cooldown_fraction`) would
    begin before the warm-up ends. The longest length is always kept."""
    warmup_tokens: Count | None = None
    """Tokens of the warm-up, at most half of `tokens`; by default a twentieth of `tokens`."""
    evaluations: Annotated[int, Field(ge=20, le=200)] = 100
    """With `reading: constant`: approximate number of evaluations on held-out tokens in a run of
    `tokens` tokens. The interval between evaluations is rounded down to whole steps, and is at
    least one step. Doubled runs keep the interval."""
    evaluation_tokens: Count = 4096
    """Approximate number of held-out tokens per evaluation. All evaluations use the same tokens."""
    micro_batch_tokens: Count | None = None
    """Maximal number of tokens per forward pass, for batches that do not fit into memory. If a
    batch is larger, it is split into micro-batches of this size. The size must then divide the
    batch, and must be a multiple of the context."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Tuning:
    """The search for learning rate and weight decay, with each optimizer."""

    lr: Range
    """First grid of learning rates, the same for all optimizers and batches. If the best learning
    rate lies at an end of the grid, the grid is extended beyond that end, up to `extensions` times.
    If `lr.extend` is false, the grid is never extended."""
    weight_decay: NonNegative | tuple[NonNegative, ...] = 0.1
    """Weight decay: one value, or several values to compare."""
    batch_tokens: tuple[Count, ...] = ()
    """Batches to tune at, in tokens, chosen from the batches of the study; by default all of them.
    A batch between two tuned batches gets interpolated hyperparameters. A batch outside the range
    of the tuned batches gets the values of the nearest tuned batch. The report states the source of
    each batch's values."""
    tokens: Count | None = None
    """Tokens of each tuning run, at least 20 times the largest batch of the study; by default
    `runs.tokens`."""
    extensions: Annotated[int, Field(ge=0, le=8)] = 3
    """Maximal number of extensions of the grid, for each optimizer and batch. Each extension adds
    two points."""
    seeds: Count = 1
    """Number of runs at each point of the search. Each run has a seed of its own."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Given:
    """Hyperparameters of an optimizer at a batch."""

    optimizer: OptimizerName
    """Optimizer that the hyperparameters are for."""
    batch_tokens: Count
    """Batch that the hyperparameters are for, in tokens. A batch between two given batches gets
    interpolated hyperparameters. A batch outside the range of the given batches gets the values of
    the nearest given batch. The report states the source of each batch's values."""
    lr: Positive
    """Learning rate at the base width. With `lr_convention: absolute`, it is the learning rate
    before multiplication by the factor for the width. In a Muon run, `lr` is Muon's learning rate,
    and AdamW's learning rate is `adamw_lr_ratio` times `lr`."""
    weight_decay: NonNegative = 0.1
    """Weight decay at the base width."""
    job: str = ""
    """Id of the telescope job that found the hyperparameters; empty if there is no job."""
    mark: str = ""
    """A reservation about the hyperparameters, as text; empty if there is none. If runs use
    hyperparameters with a reservation, the report repeats it, and the verdict is unresolved."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FromJobs:
    """Telescope jobs whose answers give the hyperparameters. Each job gives them for its own batch
    size."""

    jobs: Annotated[tuple[str, ...], Field(min_length=1)]
    """Ids of the jobs."""
    force: bool = False
    """Also accept jobs that differ from this study in architecture, base width, corpus, context,
    parametrisation, optimizer options or `adamw_lr_ratio`, and jobs that tuned hyperparameters
    besides learning rate and weight decay. If runs use values of such a job, the report names the
    differences, and the verdict is unresolved."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Hardware:
    """A description of the devices, from which the time of a step is modelled."""

    device_flops_per_second: Positive
    """Peak FLOP/s of a device in the training precision; for example 989e12 for an H100 in bf16."""
    share_of_peak: Annotated[float, Field(gt=0, le=1)]
    """Share of the peak that training reaches; for example 0.4 for 40 %."""
    bandwidth_bytes_per_second: Positive
    """Bandwidth out of each device, in bytes per second; for example 50e9 for 400 Gbit/s."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Devices:
    """The numbers of devices that hours are reported for, and a description of the devices."""

    counts: tuple[Count, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    """Numbers of devices. At each batch, a number is used only if it divides the number of
    sequences in the batch."""
    hardware: Hardware | None = None
    """Description of the devices. By default, a device is a worker of this installation: the time
    of a step on one worker is measured, and the time on several workers is modelled."""
    bandwidth_bytes_per_second: Positive = 1.25e9
    """Bandwidth out of each worker of this installation, in bytes per second. The default is
    10 Gbit/s. If `hardware` is set, this value is ignored."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BatchLimits:
    """Limits of a compute-time job."""

    max_parallel: Count | None = None
    """Maximal number of trials of the job that run at once. By default, the job has no such
    limit."""
    max_trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] = 2000
    """Maximal number of trials of the job. A study that might need more is refused."""
    max_seconds: Positive | None = None
    """Number of seconds, pauses excluded, after which no new stage (a set of trials that are
    planned together) begins. A stage that has begun is still completed."""


def ascending(values: tuple[int, ...] | Doublings) -> tuple[int, ...]:
    """The batch sizes in ascending order."""
    return values.values if isinstance(values, Doublings) else tuple(sorted(values))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Question:
    """The document of a compute-time job."""

    kind: Literal["compute_time"] = "compute_time"
    """Kind of the study: a comparison of optimizers at several batch sizes."""
    name: str = "compute_time"
    """Name of the job in lists and pictures."""
    optimizer: OptimizerName | tuple[OptimizerName, ...] = ("muon", "adamw")
    """Optimizers to compare, or a single one."""
    adamw_lr_ratio: Positive = 0.5
    """In a Muon run: AdamW's learning rate divided by Muon's, at the base width."""
    parametrisation: Parametrisation = "mup"
    """Rules by which hyperparameters change from base_width to width. `mup` is muP, in spectral
    form for Muon. `mup-paper` is the table of arXiv 2505.02222 as printed. `standard` scales only
    the initial values of the weights."""
    optimizer_options: OptimizerOptions = field(default_factory=OptimizerOptions)
    """Optimizer options that the study does not tune."""
    model: BatchModel
    """The model that every run trains."""
    data: DataSpec
    """Corpus or mixture that the runs train on, and its tokenizer."""
    batch_tokens: tuple[Count, ...] | Doublings
    """Batch sizes in tokens: at most 64 multiples of the context. They are a list, or doublings
    from `low` up to `high`."""
    target_losses: tuple[Positive, ...] = ()
    """Held-out losses to reach, in nats per token. The report has an answer for each target loss.
    If runs do not reach the lowest target loss, longer runs may follow (see `runs.doublings`).
    Other losses can be queried afterwards."""
    runs: Runs
    """The runs: their length, schedule, evaluation and reading."""
    tuning: Tuning | None = None
    """Search for the hyperparameters in this job; alternatively set `given` or `from_jobs`."""
    given: tuple[Given, ...] = ()
    """Known hyperparameters: for each optimizer, at least at one batch."""
    from_jobs: FromJobs | None = None
    """Telescope jobs that have succeeded and whose answers give the hyperparameters. Ignored if
    `given` is set."""
    seeds: Count = 2
    """Number of seeds per optimizer and batch. With the same batch and seed, all optimizers read
    the same data in the same order. Intervals need at least two seeds."""
    devices: Devices = field(default_factory=Devices)
    """Devices that hours are reported for."""
    limits: BatchLimits = field(default_factory=BatchLimits)
    """Limits of the job."""
    reuse: bool = True
    """Reuse identical finished runs of other jobs instead of training them again. Reused runs do
    not count towards the job's cost."""

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
