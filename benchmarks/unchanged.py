"""Comparison of the answers of two checkouts, value by value.

    python -m benchmarks.unchanged BEFORE AFTER [--cases quickstart judge] [--save before.json]

BEFORE and AFTER are folders with telescope's code, called checkouts. Each may also be a file that
`--save` wrote, so that an old commit needs to run only once. The benchmark runs the same cases in
both checkouts, one after the other (`benchmarks.checkouts`): the quick start, the compute_time
example, the llama example, a judgement of a sweep in a CSV file, and invalid documents.

For each job the benchmark compares the study, the preview, the job itself, the report, the levels,
the tables at further target losses, the exports and the exit statuses. It also compares every trial
with its specification, digest, state and curve.

`benchmarks.comparison` defines which values must be equal, which may differ, and which are not
compared. All permitted differences are listed, and at most `--most` of the others for each case.
The exit status is 1 if values that must be equal differ.

The choice of the executor does not change losses: they are equal with Ray and with a thread. Losses
also do not depend on which trials are trained together in a pack (ADR 13). Both statements hold
only if nothing is compiled, as in this benchmark.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.checkouts import CASES, Case, Checkout, Observation, observe
from benchmarks.comparison import (
    KINDS,
    MEASURED,
    MEASURED_IN,
    OF_THE_RUN,
    OF_THE_RUN_IN,
    Difference,
    compare,
)


def table(differences: Sequence[Difference]) -> list[str]:
    """The lines of a table with a row for each case.

    A cell has the number of values that were compared and, in brackets, the number of values that
    are unequal.
    """
    rows = [["case", "trials", *KINDS, "words", "keys removed", "keys added", "seconds"]]
    for difference in differences:
        unequal = Counter(kind for kind, _, _ in difference.unequal)
        rows.append(
            [
                difference.case,
                " -> ".join(map(str, dict.fromkeys(difference.trials))),
                *(f"{difference.compared[kind]:,} ({unequal[kind]:,})" for kind in KINDS),
                f"{difference.words_compared:,} ({len(difference.words):,})",
                f"{len(difference.removed):,}",
                f"{len(difference.added):,}",
                f"{difference.seconds[0]:.0f}, {difference.seconds[1]:.0f}",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]


def difference_lines(differences: Sequence[Difference], most: int) -> Iterator[str]:
    """Yield a line of text for each difference.

    Values that must be equal come first, at most `most` for each case. Differing words, numbers of
    another type, and removed and added keys follow.
    """
    for difference in differences:
        case, unequal = difference.case, difference.unequal
        for kind, before, after in unequal[:most]:
            value = f"{before.value!r} -> {after.value!r}" if after else repr(before.value)
            yield f"UNEQUAL {case} {kind} {before.path}: {value}"
        if len(unequal) > most:
            yield f"UNEQUAL {case}: {len(unequal) - most:,} more"
    places: dict[tuple[str, str], Counter[str]] = {}
    for difference in differences:
        for (path, old, new), count in difference.words.items():
            places.setdefault((old, new), Counter())[f"{difference.case} {path}"] += count
    for (old, new), counts in sorted(places.items()):
        yield (
            f"words: {old}\n    ->   {new}\n"
            f"         in {', '.join(sorted(counts))} ({counts.total()} times)"
        )
    for difference in differences:
        case = difference.case
        for (path, old, new), count in sorted(difference.retyped.items()):
            yield f"number of another type: {case} {path} {old} -> {new} ({count} times)"
        for change, keys in (("removed", difference.removed), ("added", difference.added)):
            for path, count in sorted(keys.items()):
                yield f"key {change}: {case} {path} ({count} values)"


def collect(
    folder: Path, cases: Sequence[Case], executor: str, workers: int
) -> dict[str, Observation]:
    """Run the cases in one checkout, one after the other, and return their outputs by name."""
    checkout, observations = Checkout(folder.resolve()), {}
    for case in cases:
        print(f"{folder}: {case.name} ...", file=sys.stderr, flush=True)
        observation = observe(checkout, case, executor, workers)
        observations[case.name] = observation
        print(f"{folder}: {case.name}, {observation.seconds:g} s", file=sys.stderr, flush=True)
    return observations


def main() -> int:
    """Run both checkouts, compare them, print the differences, and return the exit status."""
    parser = argparse.ArgumentParser(
        description="Compare the answers of two checkouts of telescope, value by value."
    )
    parser.add_argument("before", type=Path, help="a checkout, or a file that --save wrote")
    parser.add_argument("after", type=Path, help="a checkout, or a file that --save wrote")
    parser.add_argument(
        "--cases",
        nargs="+",
        choices=[case.name for case in CASES],
        default=[case.name for case in CASES],
    )
    parser.add_argument(
        "--save",
        type=Path,
        help="write the output of BEFORE to this file, to use it as BEFORE later",
    )
    parser.add_argument(
        "--executor", choices=["local", "ray"], default="ray", help="executor that runs the trials"
    )
    parser.add_argument("--workers", type=int, default=2, help="number of Ray workers")
    parser.add_argument(
        "--most", type=int, default=20, help="largest number of unequal values to list per case"
    )
    arguments = parser.parse_args()
    cases = [case for case in CASES if case.name in arguments.cases]

    def observations(path: Path) -> dict[str, Observation]:
        if path.is_file():
            documents = json.loads(path.read_text())
            return {name: Observation(**document) for name, document in documents.items()}
        return collect(path, cases, arguments.executor, arguments.workers)

    before = observations(arguments.before)
    if arguments.save:
        documents = {name: asdict(observation) for name, observation in before.items()}
        arguments.save.write_text(json.dumps(documents) + "\n")
    after = observations(arguments.after)
    differences = [compare(case.name, before[case.name], after[case.name]) for case in cases]
    print("The number of compared values, with the number of unequal values in brackets:\n")
    print("\n".join(table(differences)))
    print("", *difference_lines(differences, arguments.most), "", sep="\n")
    measured = [*sorted(MEASURED), *map(".".join, sorted(MEASURED_IN))]
    print("Not compared because a clock measured the values:", ", ".join(measured))
    of_the_run = [*sorted(OF_THE_RUN), *map(".".join, sorted(OF_THE_RUN_IN))]
    print("Not compared because the values differ between any two runs:", ", ".join(of_the_run))
    return int(any(difference.failed for difference in differences))


if __name__ == "__main__":
    sys.exit(main())
