"""The question of a compute-time study: the types of the user's document and of its parts.

The study compares the tokens and hours that optimizers need to reach a loss, at several batch
sizes. In the fields below, *a batch* is a batch size in tokens."""

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
    """The width that learning rates and weight decays are stated for; by default `width`. Values
    that come from a telescope job are stated for that job's base width."""

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
    """Upper limit of the batches, in tokens. The largest batch is the last doubling up to this
    limit."""

    @property
    def values(self) -> tuple[int, ...]:
        """The batch sizes, ascending."""
        return tuple(self.low << i for i in range((self.high // self.low).bit_length()))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Runs:
    """The length of the runs, and how losses are read off them."""

    tokens: Count
    """Tokens of the longest run before any doubling. They must allow at least 20 steps of the
    largest batch."""
    doublings: Annotated[int, Field(ge=0, le=8)] = 2
    """Maximal number of times that the length of the runs is doubled. The length at a batch and
    seed is doubled until a run there reaches the lowest target loss. Under the reading constant,
    the run must reach a loss 3 % below the lowest target loss. No length is doubled after a run at
    a constant learning rate has diverged."""
    reading: Reading = "constant"
    """How losses are read off runs. `constant` reads them along the curve of a run at a constant
    learning rate. `cooldown` reads them at the end of cooldowns, which branch off such a run and
    decay the learning rate to 0. `full` reads them at the end of separate runs of several lengths,
    which decay the learning rate to 0."""
    cooldown_fraction: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    """Under the reading cooldown: length of the cooldown at the end of a run, as a share of the
    run. The learning rate falls linearly to 0 in it."""
    lengths: Annotated[int, Field(ge=2, le=64)] = 6
    """Under the readings cooldown and full: maximal number of run lengths per batch and seed before
    any doubling. The longest is `tokens`, and each shorter length is the next longer one divided by
    sqrt(2). Lengths that are too short for the warm-up and the cooldown (`cooldown_fraction`) are
    left out, under both readings."""
    warmup_tokens: Count | None = None
    """Tokens of the warm-up, at most half of `tokens`; by default a twentieth of `tokens`."""
    evaluations: Annotated[int, Field(ge=20, le=200)] = 100
    """Under the reading constant: approximate number of times that a run measures its held-out loss
    in `tokens` tokens. The interval between measurements is rounded down to whole steps, and is at
    least one step. A doubled run continues at the same interval."""
    evaluation_tokens: Count = 4096
    """Number of held-out tokens per evaluation. Every run is evaluated on the same tokens."""
    micro_batch_tokens: Count | None = None
    """Maximal number of tokens per forward pass, for batches that do not fit into memory. A larger
    batch is split into micro-batches of this size. The size must be a multiple of the context and
    must divide every larger batch."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Tuning:
    """The search for hyperparameters: the learning rates and weight decays that are tried with each
    optimizer."""

    lr: Range
    """Grid of learning rates, the same for all optimizers. If the best learning rate lies at an end
    of the grid, the grid is extended beyond that end, up to `extensions` times. If `lr.extend` is
    false, the grid is never extended."""
    weight_decay: NonNegative | tuple[NonNegative, ...] = 0.1
    """Weight decay: one value, or several values to compare."""
    batch_tokens: tuple[Count, ...] = ()
    """Batches to tune at, in tokens; by default all batches of the study. A batch between two tuned
    batches gets interpolated hyperparameters. A batch outside the range of the tuned batches gets
    the values of the nearest tuned batch. The report states the source of each batch's values."""
    tokens: Count | None = None
    """Tokens of each tuning run; by default `runs.tokens`."""
    extensions: Annotated[int, Field(ge=0, le=8)] = 3
    """Maximal number of times that the grid is extended. Each extension adds two points."""
    seeds: Count = 1
    """Number of runs per learning rate and weight decay, each with another seed."""


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
    """Learning rate at the base width; under `lr_convention: absolute`, the learning rate before it
    is multiplied by the factor for the width. In a Muon run, this is Muon's learning rate, and
    AdamW's is `adamw_lr_ratio` times this value."""
    weight_decay: NonNegative = 0.1
    """Weight decay at the base width."""
    job: str = ""
    """Id of the telescope job that found the hyperparameters; empty if there is no job."""
    mark: str = ""
    """A reservation about the hyperparameters, as text; empty if there is none. If runs use these
    hyperparameters, the report repeats the reservation, and the verdict is unresolved."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FromJobs:
    """Telescope jobs whose answers give the hyperparameters. Each job gives them for its own batch
    size."""

    jobs: Annotated[tuple[str, ...], Field(min_length=1)]
    """Ids of the jobs."""
    force: bool = False
    """Also accept jobs that differ from this study in model, base width, corpus, context,
    parametrisation, optimizer options or `adamw_lr_ratio`, and jobs that tuned further
    hyperparameters. The report then names the differences, and the verdict is unresolved."""


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
    """Bandwidth out of each worker of this installation, in bytes per second; by default 10 Gbit/s.
    If `hardware` is set, this value is ignored."""


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
    """The batch sizes of a list or of doublings, in ascending order."""
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
    The length of runs that have not reached the lowest target loss is doubled, up to
    `runs.doublings` times. Without target losses, no length is doubled. Other losses can be queried
    afterwards."""
    runs: Runs
    """Length of the runs, and how losses are read off them."""
    tuning: Tuning | None = None
    """Search for the hyperparameters in this job; alternatively set `given` or `from_jobs`."""
    given: tuple[Given, ...] = ()
    """Hyperparameters that are already known, for at least one batch of each optimizer."""
    from_jobs: FromJobs | None = None
    """Telescope jobs that have succeeded and whose answers give the hyperparameters. Ignored if
    `given` is set."""
    seeds: Count = 2
    """Number of seeds per optimizer and batch. All optimizers use the same seeds, so they read the
    same data in the same order. Intervals need at least two seeds."""
    devices: Devices = field(default_factory=Devices)
    """Devices that hours are reported for."""
    limits: BatchLimits = field(default_factory=BatchLimits)
    """Limits of the job."""
    reuse: bool = True
    """Reuse identical finished runs of other jobs instead of training them again. Reused runs are
    free."""

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
