"""Step times worked out by hand, and what the model refuses."""

from dataclasses import replace

import pytest

from telescope.errors import InvalidInput
from telescope.statistics.step_time import (
    DeviceCluster,
    Origin,
    StepCost,
    device_counts,
    measured,
    modelled,
    splits_evenly,
)

CLUSTER = DeviceCluster(
    device_flops_per_second=1e15, share_of_peak=0.5, bandwidth_bytes_per_second=1e11
)
STEP = StepCost(
    batch_tokens=1_048_576,
    sequence_tokens=8192,
    model_flops=3.2e15,
    optimizer_flops=5e12,
    gradient_bytes=2e9,
)


def test_a_step_on_one_and_on_many_devices_is_what_the_formula_says() -> None:
    assert modelled(STEP, CLUSTER, 1).seconds == pytest.approx(3.2e15 / 5e14 + 5e12 / 5e14)
    assert modelled(STEP, CLUSTER, 64).seconds == pytest.approx(
        0.1 + 0.01 + 2 * 63 / 64 * 2e9 / 1e11
    )


def test_more_devices_are_faster_until_the_exchange_and_the_optimizer_are_all_that_is_left() -> (
    None
):
    seconds = [modelled(STEP, CLUSTER, n).seconds for n in device_counts(STEP)]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[-1] > 0.01 + 0.039


def test_hours_and_the_share_of_peak_follow_from_a_step() -> None:
    time = measured(7.2, devices=2)
    assert time.hours(500) == pytest.approx(1.0)
    assert time.share_of_peak(STEP, 1e15) == pytest.approx(3.2e15 / (7.2 * 2 * 1e15))
    free = replace(STEP, optimizer_flops=0.0)
    assert modelled(free, CLUSTER, 1).share_of_peak(free, 1e15) == pytest.approx(0.5)


def test_a_modelled_time_never_equals_a_measured_one() -> None:
    model = modelled(STEP, CLUSTER, 4)
    assert model.origin is Origin.MODELLED
    assert measured(model.seconds, 4) != model


def test_a_batch_is_split_into_whole_sequences() -> None:
    assert device_counts(STEP) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert device_counts(replace(STEP, batch_tokens=12 * 8192)) == [1, 2, 3, 4, 6, 12]
    assert [splits_evenly(STEP, n) for n in (0, 3, 128, 256)] == [False, False, True, False]
    with pytest.raises(
        InvalidInput, match=r"devices: must divide the 128 sequences .* \(given: 256\)"
    ):
        modelled(STEP, CLUSTER, 256)


def test_impossible_inputs_are_refused_together_by_name() -> None:
    with pytest.raises(InvalidInput) as caught:
        DeviceCluster(
            device_flops_per_second=0.0, share_of_peak=40.0, bandwidth_bytes_per_second=float("nan")
        )
    named = [problem.field for problem in caught.value.problems]
    assert named == ["device_flops_per_second", "bandwidth_bytes_per_second", "share_of_peak"]
    with pytest.raises(InvalidInput, match="batch_tokens: must be a multiple of sequence_tokens"):
        replace(STEP, batch_tokens=8200)
    with pytest.raises(InvalidInput, match="optimizer_flops"):
        replace(STEP, optimizer_flops=-1.0)
    with pytest.raises(InvalidInput, match="seconds"):
        measured(0.0, 1)
