"""The benchmark of the coordinate check fails if a verdict is wrong or the check takes too long."""

from benchmarks.coordinates import ARMS, REQUIRED, faults


def test_the_benchmark_fails_on_a_wrong_verdict_and_on_its_time() -> None:
    expected = {name: verdict for name, (_, verdict) in ARMS.items()}
    assert set(REQUIRED) < set(expected)
    assert faults(expected, 119.0) == []
    assert faults(expected | {"AdamW mup": "unresolved"}, 119.0) == [
        "AdamW mup: the verdict is unresolved, but pass was expected"
    ]
    assert faults(expected, 121.0) == [
        "the required arms took 121.0 CPU-seconds, and the limit is 120"
    ]
