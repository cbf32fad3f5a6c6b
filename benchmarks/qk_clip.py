"""Growth of attention logits with and without QK-clip, and the effect of QK-clip on the loss.

QK-clip scales down the query and key weights of a head whose largest attention logit exceeds a
threshold, tau.

    python -m benchmarks.qk_clip [--quick]

The benchmark trains a transformer of width 32, with two layers and heads of size 16, on the bytes
of the corpus python-stdlib. Each run has 120 steps of 512 tokens and no weight decay; there are
three seeds. For each optimizer and threshold the benchmark prints the largest attention logit in
the first twenty and in the last twenty steps, the largest number of heads that were clipped within
twenty steps, and the mean and the range of the final held-out loss over the seeds.
"""

import argparse
from dataclasses import replace
from itertools import product
from statistics import mean

import torch

from benchmarks.arguments import parsed
from telescope.data import batches
from telescope.train.loop import train_one
from telescope.trials.data import DataSpec
from telescope.trials.horizon import HorizonSpec
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.spec import TrialSpec

MUON = OptimizerSpec(name="muon", lr=2.0**-4, weight_decay=0.0, measure_max_logit=True)
MODEL = ModelSpec(width=32, base_width=32, head_dim=16)
ARMS = {
    **{f"Muon, lr {lr:g}": (replace(MUON, lr=lr), MODEL) for lr in (2.0**-4, 2.0**-2, 1.0)},
    "Muon, lr 0.25, mla": (replace(MUON, lr=2.0**-2), replace(MODEL, attention="mla")),
    "AdamW, lr 0.06": (
        OptimizerSpec(name="adamw", lr=0.06, weight_decay=0.0, measure_max_logit=True),
        MODEL,
    ),
}
THRESHOLDS = (None, 100.0, 20.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parsed(parser, steps=20, seeds=1)
    torch.set_num_threads(1)
    text = batches.resolve(DataSpec(corpus="python-stdlib", context=64))
    horizon = HorizonSpec(steps=arguments.steps, batch_tokens=512, record_every=20)
    print(
        "| optimizer | tau | largest logit in the first 20 steps | in the last 20 steps "
        "| most heads clipped in 20 steps, of 4 | mean loss (range) |"
    )
    print("|---|---|---|---|---|---|")
    for (name, (optimizer, model)), tau in product(ARMS.items(), THRESHOLDS):
        specs = [
            TrialSpec(
                model=model,
                optimizer=replace(optimizer, qk_clip=tau),
                data=text,
                horizon=horizon,
                seed=seed,
            )
            for seed in range(arguments.seeds)
        ]
        curves = [[point.metrics for point in train_one(spec)] for spec in specs]
        first, last = (max(curve[i]["max_logit"] for curve in curves) for i in (0, -1))
        clipped = max(point.get("clipped_heads", 0.0) for curve in curves for point in curve)
        losses = [curve[-1]["loss"] for curve in curves]
        loss = f"{mean(losses):.3f} ({min(losses):.3f}-{max(losses):.3f})"
        print(
            f"| {name} | {tau or 'none'} | {first:,.0f} | {last:,.0f} | {clipped:.0f} | {loss} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
