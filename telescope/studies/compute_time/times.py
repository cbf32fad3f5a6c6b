"""The time of a training step on a number of devices.

If the study describes its hardware, every step time is modelled for that hardware
(`telescope.statistics.step_time`). Otherwise a device is a worker of this installation: the time on
one worker is measured, as the median step of a run that had the worker to itself; the time on
several workers is modelled as if they were copies of this worker, connected at a stated bandwidth.

Parts: `step_of`, the cost of a step · `measured_step_seconds` · `step_times` ·
`step_time_assumptions`, as text.
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
    """Seconds per step on one worker; None if no run has measured them yet."""
    return timed.metrics.get("step_seconds") if timed else None


def step_times(
    devices: Devices, setting: RunSetting, seconds: float | None
) -> list[tuple[StepTime, float | None]]:
    """The time of a step on each device count that divides the batch, and the share of peak FLOP/s
    that the step reaches, None if the peak is unknown. `seconds` is measured on one worker. Empty
    if the study describes no hardware and `seconds` is None.
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
        "data parallelism, gradients all-reduced in a ring without overlap, "
        "the whole optimizer step on every device"
    )
    if hardware := devices.hardware:
        peak = f"{hardware.device_flops_per_second / 1e12:.4g} TFLOP/s per device"
        speed = f"{peak}, {hardware.share_of_peak:.0%} of this peak"
        bandwidth = f"{hardware.bandwidth_bytes_per_second / 1e9:.4g} GB/s out of each device"
        return f"modelled for {speed}, {bandwidth}: {form}"
    bandwidth = f"{devices.bandwidth_bytes_per_second / 1e9:.4g} GB/s out of each device"
    device = "one device is a worker of this installation, as measured"
    return f"{device}; several are modelled as copies of this worker, {bandwidth}: {form}"
