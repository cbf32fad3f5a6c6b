"""The option `--quick` of all benchmarks: tiny sizes, to check that a benchmark runs."""

import argparse
from typing import Any


def parsed(parser: argparse.ArgumentParser, **small: Any) -> argparse.Namespace:
    """Parse the arguments of this process; `--quick` replaces the sizes by those in `small`.

    The figures of a quick run are meaningless.
    """
    sizes = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in small.items())
    parser.add_argument(
        "--quick", action="store_true", help=f"only check that it runs, with {sizes}"
    )
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(small)
    return arguments
