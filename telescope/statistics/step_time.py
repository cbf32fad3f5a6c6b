"""The time of one training step on a number of devices, measured or modelled.

A measured time comes from a timed run. A modelled time comes from this model of data parallelism
over n equal devices:

    seconds = F_model / (n p u)  +  F_optimizer / (p u)  +  2 ((n - 1) / n) (G / w)

F_model is the FLOPs of the forward and backward passes over the whole batch. F_optimizer is the
FLOPs of the optimizer's update. p is the peak FLOP/s of a device, and u is the share of this peak
that training reaches. G is the bytes of all gradients, and w is the bandwidth out of each device in
bytes/s.

The last term is the time of a ring all-reduce of the gradients (Patarasu and Yuan 2009). Two
assumptions can make the modelled time too long: the all-reduce does not overlap with computing, and
every device computes the whole update, as in the naive Muon of arXiv 2505.02222. One simplification
can make the modelled time too short: latency and slow devices are left out.

Parts: `DeviceCluster` and `StepCost`, the inputs of the model · `StepTime`, which `modelled` and
`measured` return · `splits_evenly` and `device_counts`, the device counts that divide a batch.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from telescope.errors import InvalidInput, Problem

SECONDS_PER_HOUR = 3600.0


class Origin(StrEnum):
    """Whether a time is measured or modelled."""

    MEASURED = "measured"
    MODELLED = "modelled"


@dataclass(frozen=True)
class DeviceCluster:
    """Equal devices and the network between them. Raises InvalidInput if a value is out of
    range."""

    device_flops_per_second: float  # peak of one device, in the precision of training
    share_of_peak: float  # share of the peak that training reaches: above 0 and at most 1
    bandwidth_bytes_per_second: float  # bandwidth out of each device

    def __post_init__(self) -> None:
        problems = not_positive(
            self, "device_flops_per_second", "share_of_peak", "bandwidth_bytes_per_second"
        )
        if self.share_of_peak > 1:
            message = "must be at most 1; give a share of the peak, such as 0.5 for 50 %"
            problems = (*problems, Problem("share_of_peak", message, self.share_of_peak))
        if problems:
            raise InvalidInput.because(problems)


@dataclass(frozen=True)
class StepCost:
    """Cost of one optimizer step on one batch. Raises InvalidInput if a value is out of range, or
    if the batch does not consist of whole sequences."""

    batch_tokens: int
    sequence_tokens: int  # length of a sequence in tokens; sequences are not split over devices
    model_flops: float  # FLOPs of the forward and backward passes over the whole batch
    optimizer_flops: float  # FLOPs of the update, which do not depend on the batch size
    gradient_bytes: float  # bytes of all gradients; devices exchange them once per step

    def __post_init__(self) -> None:
        problems = not_positive(
            self, "batch_tokens", "sequence_tokens", "model_flops", "gradient_bytes"
        )
        if not (math.isfinite(self.optimizer_flops) and self.optimizer_flops >= 0):
            message = "must be a finite number of 0 or more; give 0 if the update costs nothing"
            problems = (*problems, Problem("optimizer_flops", message, self.optimizer_flops))
        if not problems and self.batch_tokens % self.sequence_tokens:
            message = (
                f"must be a multiple of sequence_tokens ({self.sequence_tokens}); "
                "round it up to a multiple"
            )
            problems = (Problem("batch_tokens", message, self.batch_tokens),)
        if problems:
            raise InvalidInput.because(problems)


@dataclass(frozen=True)
class StepTime:
    """The time of one step."""

    seconds: float
    devices: int
    origin: Origin

    def hours(self, steps: float) -> float:
        """Hours that `steps` steps take."""
        return steps * self.seconds / SECONDS_PER_HOUR

    def share_of_peak(self, step: StepCost, device_flops_per_second: float) -> float:
        """Model FLOP utilisation: the FLOP/s of the forward and backward passes, as a share of the
        peak FLOP/s of all devices."""
        return step.model_flops / (self.seconds * self.devices * device_flops_per_second)


def measured(seconds: float, devices: int) -> StepTime:
    """A measured time of a step. Raises InvalidInput unless `seconds` is finite and above 0."""
    if not (math.isfinite(seconds) and seconds > 0):
        raise InvalidInput.of(
            "seconds",
            "must be a finite number above 0; leave out steps that were not timed",
            seconds,
        )
    return StepTime(seconds, devices, Origin.MEASURED)


def modelled(step: StepCost, cluster: DeviceCluster, devices: int) -> StepTime:
    """The modelled time of a step on `devices` devices. Raises InvalidInput if the batch cannot be
    split evenly over the devices."""
    if not splits_evenly(step, devices):
        sequences = step.batch_tokens // step.sequence_tokens
        raise InvalidInput.of(
            "devices",
            f"must divide the {sequences} sequences of a batch; choose among {device_counts(step)}",
            devices,
        )
    flops_per_second = cluster.device_flops_per_second * cluster.share_of_peak
    compute_seconds = (step.model_flops / devices + step.optimizer_flops) / flops_per_second
    exchanged_bytes = 2 * (devices - 1) / devices * step.gradient_bytes
    seconds = compute_seconds + exchanged_bytes / cluster.bandwidth_bytes_per_second
    return StepTime(seconds, devices, Origin.MODELLED)


def splits_evenly(step: StepCost, devices: int) -> bool:
    """True if every device gets the same number of whole sequences."""
    return devices >= 1 and (step.batch_tokens // step.sequence_tokens) % devices == 0


def device_counts(step: StepCost) -> list[int]:
    """The device counts over which a batch splits evenly, ascending."""
    sequences = step.batch_tokens // step.sequence_tokens
    small = [n for n in range(1, math.isqrt(sequences) + 1) if sequences % n == 0]
    return sorted({*small, *(sequences // n for n in small)})


def not_positive(inputs: DeviceCluster | StepCost, *fields: str) -> tuple[Problem, ...]:
    """A problem for each of these fields whose value is not a finite number above 0."""
    values = [(name, getattr(inputs, name)) for name in fields]
    return tuple(
        Problem(name, "must be a finite number above 0", value)
        for name, value in values
        if not 0 < value < math.inf
    )
