"""The one argument that all benchmarks have: `--quick`, which shows in little time that a benchmark runs."""

import argparse
from typing import Any


def parsed(parser: argparse.ArgumentParser, **small: Any) -> argparse.Namespace:
    """The arguments of this process. With --quick the sizes are `small`; figures of such a run are worth nothing."""
    sizes = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in small.items())
    parser.add_argument("--quick", action="store_true", help=f"only see that it runs, with {sizes}")
    given = parser.parse_args()
    if given.quick:
        vars(given).update(small)
    return given
