"""The time of a training step on a number of devices.

If the study describes its hardware, all step times are modelled for that hardware
(`telescope.statistics.step_time`). Otherwise, a device is a worker of this installation. The time
on one worker is measured: it is the median step time of a run that had the worker to itself. The
time on several workers is modelled. The model assumes that all workers are as fast as the measured
worker, and uses the bandwidth in the document (`devices.bandwidth_bytes_per_second`).
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
    """The FLOPs and the bytes of gradients of one training step."""
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
    """Seconds per step on one worker. `timed` is the run that measured the time of a step. None
    without this run, or if the run diverged."""
    return timed.metrics.get("step_seconds") if timed else None


def step_times(
    devices: Devices, setting: RunSetting, seconds: float | None
) -> list[tuple[StepTime, float | None]]:
    """The time of a step on each device count that divides the number of sequences in the batch,
    with the model FLOP utilisation: the model's FLOP/s divided by the peak FLOP/s of the devices.

    `seconds` is the measured time of a step on one worker, which is ignored if `devices.hardware`
    is set. If `devices.hardware` is None, the utilisation is None, and without `seconds`, the list
    is empty.
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
