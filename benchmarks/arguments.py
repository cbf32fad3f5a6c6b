"""The option `--quick` of the benchmarks, which checks with tiny sizes that a benchmark runs."""

import argparse
from typing import Any


def parsed(parser: argparse.ArgumentParser, **small: Any) -> argparse.Namespace:
    """Add the option `--quick` to a parser, and parse the arguments of this process.

    With `--quick`, the values in `small` replace the arguments of the same names. The figures that
    a quick run prints are meaningless.
    """
    sizes = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in small.items())
    parser.add_argument(
        "--quick", action="store_true", help=f"only check that the benchmark runs, with {sizes}"
    )
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(small)
    return arguments
