"""The time of a step of these runs, by number of devices.

If the study names its hardware, every step is modelled for it. Otherwise a device is a worker of
this installation: its time alone is measured, as the median step of a run that had it for itself,
and several workers are modelled as copies of it, over a stated bandwidth
(`telescope.statistics.step_time`).

Parts: `step_of` · `measured_step_seconds` · `step_times` · `in_words`.
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
from telescope.studies.compute_time.runs import Setting
from telescope.train.flops import newton_schulz_flops, parameters, training_flops_per_token
from telescope.trials.outcome import Trial

GRADIENT_BYTES = 4  # of each parameter: float32


def step_of(setting: Setting) -> StepCost:
    """An optimizer step at a batch, in FLOPs and bytes."""
    model, data = setting.model, setting.data
    return StepCost(
        batch_tokens=setting.batch_tokens,
        sequence_tokens=data.context,
        model_flops=setting.batch_tokens
        * training_flops_per_token(model, data.vocab_size, data.context),
        optimizer_flops=newton_schulz_flops(
            model, setting.optimizer.newton_schulz_steps, setting.optimizer.muon_split
        )
        if setting.optimizer.name == "muon"
        else 0.0,
        gradient_bytes=float(GRADIENT_BYTES * parameters(model, data.vocab_size, data.context)),
    )


def measured_step_seconds(timed: Trial | None) -> float | None:
    """Seconds per step as measured on one worker; None before the measurement."""
    return timed.metrics.get("step_seconds") if timed else None


def step_times(
    devices: Devices, setting: Setting, seconds: float | None
) -> list[tuple[StepTime, float | None]]:
    """The time of a step on each device count that divides the batch, and its share of the devices'
    peak, if known.
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


def in_words(devices: Devices) -> str:
    """The assumptions of modelled times, in words."""
    form = "data parallelism, gradients all-reduced in a ring without overlap, the whole optimizer step on every device"
    if hardware := devices.hardware:
        peak = f"{hardware.device_flops_per_second / 1e12:.4g} TFLOP/s per device"
        speed = f"{peak}, {hardware.share_of_peak:.0%} of it reached"
        between = f"{hardware.bandwidth_bytes_per_second / 1e9:.4g} GB/s out of each"
        return f"modelled for {speed}, {between}: {form}"
    between = f"{devices.bandwidth_bytes_per_second / 1e9:.4g} GB/s out of each"
    one = "one device is a worker of this installation, as measured"
    return f"{one}; several are modelled as copies of it, {between}: {form}"
