"""The time of a training step on a number of devices.

If the study describes its hardware, every step time is modelled for that hardware
(`telescope.statistics.step_time`). Otherwise, a device is a worker of this installation. The time
on one worker is measured: it is the median step time of a run that had the worker to itself. The
time on several workers is modelled: the workers are assumed to be copies of the measured worker,
connected at the bandwidth that the study states.
"""

from telescope.statistics.step_time import (
    DeviceCluster,
    StepCost,
    StepTime,
    measured,
    modelled,
    splits_evenly,
)
from telescope.studies.compute_time.question import Devices
from telescope.studies.compute_time.runs import RunSetting
from telescope.train.flops import newton_schulz_flops, parameters, training_flops_per_token
from telescope.trials.outcome import Trial

GRADIENT_BYTES = 4  # bytes of a parameter's gradient, in float32


def step_of(setting: RunSetting) -> StepCost:
    """The cost of a step at a batch, in FLOPs and bytes."""
    model, optimizer, data = setting.model, setting.optimizer, setting.data
    flops_per_token = training_flops_per_token(model, data.vocab_size, data.context)
    optimizer_flops = (
        newton_schulz_flops(model, optimizer.newton_schulz_steps, optimizer.muon_split)
        if optimizer.name == "muon"
        else 0.0
    )
    return StepCost(
        batch_tokens=setting.batch_tokens,
        sequence_tokens=data.context,
        model_flops=setting.batch_tokens * flops_per_token,
        optimizer_flops=optimizer_flops,
        gradient_bytes=float(GRADIENT_BYTES * parameters(model, data.vocab_size, data.context)),
    )


def measured_step_seconds(timed: Trial | None) -> float | None:
    """Seconds per step on one worker, from the run that timed a step. None if there is no such run
    yet, or if it diverged."""
    return timed.metrics.get("step_seconds") if timed else None


def step_times(
    devices: Devices, setting: RunSetting, seconds: float | None
) -> list[tuple[StepTime, float | None]]:
    """For each device count that divides the number of sequences in the batch: the time of a step,
    and the share of the peak FLOP/s that the model's FLOPs reach.

    `seconds` is the measured time of a step on one worker. If the study describes no hardware, the
    share is None, and there are no step times unless `seconds` is known.
    """
    step = step_of(setting)
    counts = [count for count in sorted(set(devices.counts)) if splits_evenly(step, count)]
    if hardware := devices.hardware:
        cluster = DeviceCluster(
            hardware.device_flops_per_second,
            hardware.share_of_peak,
            hardware.bandwidth_bytes_per_second,
        )
        times = [modelled(step, cluster, count) for count in counts]
        return [
            (time, time.share_of_peak(step, hardware.device_flops_per_second)) for time in times
        ]
    if seconds is None:
        return []
    worker = DeviceCluster(
        (step.model_flops + step.optimizer_flops) / seconds, 1.0, devices.bandwidth_bytes_per_second
    )
    return [
        (measured(seconds, 1) if count == 1 else modelled(step, worker, count), None)
        for count in counts
    ]


def step_time_assumptions(devices: Devices) -> str:
    """The assumptions of modelled step times, as text."""
    form = (
        "data parallelism, gradients all-reduced in a ring without overlap with computing, "
        "the whole optimizer step on every device"
    )
    if hardware := devices.hardware:
        peak = f"{hardware.device_flops_per_second / 1e12:.4g} TFLOP/s per device"
        speed = f"a peak of {peak}, {hardware.share_of_peak:.0%} of this peak in training"
        bandwidth = f"{hardware.bandwidth_bytes_per_second / 1e9:.4g} GB/s out of each device"
        return f"modelled for {speed}, and {bandwidth}: {form}"
    bandwidth = f"with {devices.bandwidth_bytes_per_second / 1e9:.4g} GB/s out of each device"
    device = "one device is a worker of this installation, whose step time is measured"
    return f"{device}; several devices are modelled as copies of this worker, {bandwidth}: {form}"
