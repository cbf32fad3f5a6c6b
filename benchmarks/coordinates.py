"""Benchmark of the coordinate check: verdicts, guilty layers and cost.

    python -m benchmarks.coordinates [--quick]

It runs seven parametrisations of known behaviour: widths 32 to 256, 8 steps on a batch of 8 x 64
bytes of python-stdlib. It prints a row per arm: verdict and expected verdict, the range of the
slopes of hidden layers (the change of their outputs, then their own updates), that of the logits,
and CPU seconds; then the reasons of the arms that failed. It ends with status 1 if a verdict is not
the expected one, or if the five arms that must be told apart exceed their joint time limit.
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
LIMIT_S = 120.0  # CPU seconds, for the required arms together


def base(optimizer: OptimizerSpec) -> TrialSpec:
    text = batches.resolve(DataSpec(corpus="python-stdlib"))
    model = ModelSpec(width=32, base_width=32, depth=2, head_dim=16)
    return TrialSpec(
        model=model,
        optimizer=optimizer,
        data=text,
        horizon=HorizonSpec(steps=120, batch_tokens=512),
    )


def span(report: CoordinateReport, part: str, logits: bool = False) -> str:
    slopes = [
        layer.slope
        for layer in report.layers
        if layer.part == part and (layer.layer == LOGITS) == logits
    ]
    return f"{min(slopes):+.2f} .. {max(slopes):+.2f}" if len(slopes) > 1 else f"{slopes[0]:+.2f}"


def faults(verdicts: Mapping[str, str], required_s: float) -> list[str]:
    """Unexpected results, given each arm's verdict and the CPU seconds of the required arms."""
    found = [
        f"{name}: {verdict}, and {ARMS[name][1]} was expected"
        for name, verdict in verdicts.items()
        if verdict != ARMS[name][1]
    ]
    return found + (
        [f"{required_s:.1f} CPU-seconds are more than {LIMIT_S:g}"] if required_s > LIMIT_S else []
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(arms=list(ARMS))
    arms = parsed(parser, arms=["Muon mup", "AdamW standard"]).arms
    torch.set_num_threads(1)
    failed, verdicts, spent_s = [], dict[str, str](), dict[str, float]()
    for name in arms:
        optimizer, expected = ARMS[name]
        began = time.process_time()
        report = check(base(optimizer), target_width=256)
        verdicts[name], spent_s[name] = report.verdict, time.process_time() - began
        spans = f"{span(report, 'moved'):>15} | {span(report, 'own'):>15} | {span(report, 'moved', logits=True)}"
        cost = f"{report.seeds} seeds, {spent_s[name]:.1f} s"
        print(
            f"{name:<29} | {report.verdict:<10} ({expected} expected) | {spans} | {cost}",
            flush=True,
        )
        if report.verdict == "fail":
            failed.append(f"{name}: {report.reason}. Likely cause: {report.cause}.")
    required_s = sum(spent_s.get(name, 0.0) for name in REQUIRED)
    wrong = faults(verdicts, required_s)
    print(
        "",
        *failed,
        "",
        f"{required_s:.1f} CPU-seconds for the {len(REQUIRED)} required arms (at most {LIMIT_S:g})",
        *wrong,
        sep="\n",
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
