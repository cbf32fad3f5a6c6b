"""Speed of training on a GPU.

    python -m benchmarks.gpu [--widths 32 64 ...] [--batch-tokens 4096] [--quick]

The benchmark measures telescope's training step in bf16 on one GPU, compared with the step of a
plain loop. It also measures the optimizer step alone (`benchmarks.steps`). It needs only torch,
numpy and pydantic, so that it runs on a machine without telescope's other dependencies. If the
machine has no GPU, the benchmark says so and ends with status 0.
"""

import argparse

import torch

from benchmarks.arguments import parsed
from benchmarks.machine import describe
from benchmarks.steps import step_table, update_table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", nargs="+", type=int, default=[32, 64, 128, 256, 512, 1024])
    parser.add_argument("--batch-tokens", type=int, default=4096)
    arguments = parsed(parser, widths=[256])
    if not torch.cuda.is_available():
        print("no accelerator: not measured")
        return
    print(describe(), "\n")
    for line in step_table(arguments.widths, arguments.batch_tokens):
        print(line, flush=True)
    print()
    for line in update_table([width for width in arguments.widths if width >= 256], 24):
        print(line, flush=True)


if __name__ == "__main__":
    main()
