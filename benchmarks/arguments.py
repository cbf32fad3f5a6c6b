"""The argument `--quick` of all benchmarks, which checks in little time that a benchmark runs."""

import argparse
from typing import Any


def parsed(parser: argparse.ArgumentParser, **small: Any) -> argparse.Namespace:
    """Parse the arguments of this process. With --quick the sizes are `small`.

    Figures of a quick run are meaningless.
    """
    sizes = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in small.items())
    parser.add_argument(
        "--quick", action="store_true", help=f"only check that it runs, with {sizes}"
    )
    given = parser.parse_args()
    if given.quick:
        vars(given).update(small)
    return given
