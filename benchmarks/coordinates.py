"""Benchmark of the coordinate check: verdicts and cost.

    python -m benchmarks.coordinates [--quick]

The coordinate check trains a few steps at several widths, and measures how much the outputs of each
layer change. The slope of a layer is the power of the width to which this change is proportional.
Under a correct muP parametrisation the slopes are close to 0.

The benchmark runs the check on seven parametrisations (arms) whose verdict is known, at widths 32
to 256, with 8 steps on a batch of 8 x 64 bytes of the text python-stdlib. It prints a row for each
arm:

- the verdict, and the verdict that is expected
- the lowest and the highest slope of the hidden layers, for the whole change of a layer's outputs
- the same for the part of the change that the layer's own update causes
- the slope of the logits
- the number of seeds and the CPU seconds

After the table it prints the reason and the likely cause of each failed check. The exit status is 1
if a verdict is not the expected verdict, or if the five arms that are required exceed their joint
time limit.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import replace

import torch

from benchmarks.arguments import parsed
from telescope.data import batches
from telescope.studies.coordinates.check import CoordinateReport, check
from telescope.train.probes import LOGITS
from telescope.trials.data import DataSpec
from telescope.trials.horizon import HorizonSpec
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.spec import TrialSpec

MUON = OptimizerSpec(name="muon", lr=2.0**-5, weight_decay=0.1)
ADAMW = OptimizerSpec(name="adamw", lr=2.0**-6, weight_decay=0.1)
RMS = replace(MUON, update_scale="rms_match")
ARMS = {
    "Muon mup": (MUON, "pass"),
    "Muon sqrt(max(1, out/in))": (replace(MUON, update_scale="spectral_clamped"), "pass"),
    "Muon 0.2 sqrt(max), m^-1/2": (replace(RMS, muon_lr_rule="inverse_sqrt"), "pass"),
    "Muon 0.2 sqrt(max), constant": (replace(RMS, muon_lr_rule="constant"), "fail"),
    "Muon 0.2 sqrt(max), 1/m": (replace(RMS, muon_lr_rule="inverse"), "fail"),
    "AdamW mup": (ADAMW, "pass"),
    "AdamW standard": (replace(ADAMW, parametrisation="standard"), "fail"),
}
REQUIRED = (
    "Muon mup",
    "Muon 0.2 sqrt(max), constant",
    "Muon 0.2 sqrt(max), 1/m",
    "AdamW mup",
    "AdamW standard",
)
LIMIT_S = 120.0  # largest number of CPU seconds for all required arms together


def base(optimizer: OptimizerSpec) -> TrialSpec:
    text = batches.resolve(DataSpec(corpus="python-stdlib"))
    model = ModelSpec(width=32, base_width=32, depth=2, head_dim=16)
    return TrialSpec(
        model=model,
        optimizer=optimizer,
        data=text,
        horizon=HorizonSpec(steps=120, batch_tokens=512),
    )


def slope_range(report: CoordinateReport, part: str, logits: bool = False) -> str:
    slopes = [
        layer.slope
        for layer in report.layers
        if layer.part == part and (layer.layer == LOGITS) == logits
    ]
    return f"{min(slopes):+.2f} .. {max(slopes):+.2f}" if len(slopes) > 1 else f"{slopes[0]:+.2f}"


def faults(verdicts: Mapping[str, str], required_s: float) -> list[str]:
    """Messages about unexpected verdicts, and about too many CPU seconds of the required arms."""
    messages = [
        f"{name}: the verdict is {verdict}, but {ARMS[name][1]} was expected"
        for name, verdict in verdicts.items()
        if verdict != ARMS[name][1]
    ]
    if required_s > LIMIT_S:
        messages.append(
            f"the required arms took {required_s:.1f} CPU-seconds, and the limit is {LIMIT_S:g}"
        )
    return messages


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(arms=list(ARMS))
    arms = parsed(parser, arms=["Muon mup", "AdamW standard"]).arms
    torch.set_num_threads(1)
    failures, verdicts, cpu_seconds = [], dict[str, str](), dict[str, float]()
    for name in arms:
        optimizer, expected = ARMS[name]
        start = time.process_time()
        report = check(base(optimizer), target_width=256)
        verdicts[name], cpu_seconds[name] = report.verdict, time.process_time() - start
        slopes = (
            f"{slope_range(report, 'moved'):>15} | {slope_range(report, 'own'):>15} "
            f"| {slope_range(report, 'moved', logits=True)}"
        )
        cost = f"{report.seeds} seeds, {cpu_seconds[name]:.1f} s"
        print(
            f"{name:<29} | {report.verdict:<10} ({expected} expected) | {slopes} | {cost}",
            flush=True,
        )
        if report.verdict == "fail":
            failures.append(f"{name}: {report.reason}. Likely cause: {report.cause}.")
    required_s = sum(cpu_seconds.get(name, 0.0) for name in REQUIRED)
    total = (
        f"The {len(REQUIRED)} required arms took {required_s:.1f} CPU-seconds; "
        f"the limit is {LIMIT_S:g}."
    )
    messages = faults(verdicts, required_s)
    print("", *failures, "", total, *messages, sep="\n")
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
