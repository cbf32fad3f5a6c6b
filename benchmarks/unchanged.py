"""Comparison of the answers of two checkouts, value by value.

    python -m benchmarks.unchanged BEFORE AFTER [--cases quickstart judge] [--save before.json]

BEFORE and AFTER are folders with telescope's code; BEFORE may also be a file that `--save` wrote,
so that the old commit runs only once. Cases run one after the other (`benchmarks.checkouts`): the
quick start, the compute_time example, the llama example, one judged CSV, and invalid documents. Of
each job are compared: the study, the preview, the job, every trial with its specification, digest,
state and curve, the report, the answers to further target losses, the exports, and the exit
statuses.

`benchmarks.comparison` defines what must be equal, what may differ and what is left out; all
permitted differences are listed. The exit status is 1 if anything differs that must not.

Losses do not depend on whether Ray or one thread trains, nor on the other trials of a pack (ADR
13), as long as nothing is compiled.

Parts: `table`, `listed` · `collect`, the output of one checkout · `main`.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.checkouts import CASES, Case, Checkout, Observation, observe
from benchmarks.comparison import KINDS, MEASURED, MEASURED_IN, OF_THE_RUN, Difference, compare


def table(found: Sequence[Difference]) -> list[str]:
    """Per case the number of compared values, and how many of them differ."""
    head = ["case", "trials", *KINDS, "words", "keys removed", "keys added", "seconds"]
    rows = [head]
    for case in found:
        trials = (
            str(case.trials[0])
            if len(set(case.trials)) == 1
            else f"{case.trials[0]} -> {case.trials[1]}"
        )
        unequal = Counter(kind for kind, _, _ in case.unequal)
        rows.append(
            [
                case.case,
                trials,
                *(f"{case.compared[kind]:,} ({unequal[kind]:,})" for kind in KINDS),
                f"{case.words_compared:,} ({len(case.words):,})",
                f"{len(case.removed):,}",
                f"{len(case.added):,}",
                f"{case.seconds[0]:.0f}, {case.seconds[1]:.0f}",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]


def listed(found: Sequence[Difference], most: int) -> Iterator[str]:
    """Every difference: first those that must not be, then words, types and keys."""
    for case in found:
        for kind, before, after in case.unequal[:most]:
            yield f"UNEQUAL {case.case} {kind} {before.path}: {before.value!r}" + (
                f" -> {after.value!r}" if after else ""
            )
        if len(case.unequal) > most:
            yield f"UNEQUAL {case.case}: {len(case.unequal) - most:,} more"
    places: dict[tuple[str, str], Counter[str]] = {}
    for case in found:
        for (path, old, new), count in case.words.items():
            places.setdefault((old, new), Counter())[f"{case.case} {path}"] += count
    for (old, new), counts in sorted(places.items()):
        yield (
            f"words: {old}\n    ->   {new}\n         in {', '.join(sorted(counts))} ({counts.total()} times)"
        )
    for case in found:
        for (path, old, new), count in sorted(case.retyped.items()):
            yield f"number of another type: {case.case} {path} {old} -> {new} ({count} times)"
        for sign, keys in (("removed", case.removed), ("added", case.added)):
            yield from (
                f"key {sign}: {case.case} {path} ({count} values)"
                for path, count in sorted(keys.items())
            )


def collect(
    folder: Path, cases: Sequence[Case], executor: str, workers: int
) -> dict[str, Observation]:
    """Run each case once in one checkout, one after the other."""
    checkout, found = Checkout(folder.resolve()), {}
    for case in cases:
        print(f"{folder}: {case.name} ...", file=sys.stderr, flush=True)
        found[case.name] = observe(checkout, case, executor, workers)
        print(f"{folder}: {case.name}, {found[case.name].seconds:g} s", file=sys.stderr, flush=True)
    return found


def main() -> int:
    """Collect, compare and print; return the exit status."""
    parser = argparse.ArgumentParser(
        description="Compare the answers of two checkouts of telescope, value by value."
    )
    parser.add_argument("before", type=Path, help="a checkout, or a file that --save wrote")
    parser.add_argument("after", type=Path, help="a checkout, or such a file")
    parser.add_argument(
        "--cases",
        nargs="+",
        choices=[case.name for case in CASES],
        default=[case.name for case in CASES],
    )
    parser.add_argument(
        "--save",
        type=Path,
        help="write the collection of BEFORE to this file, to use it as BEFORE later",
    )
    parser.add_argument(
        "--executor", choices=["local", "ray"], default="ray", help="what runs the trials"
    )
    parser.add_argument("--workers", type=int, default=2, help="number of Ray workers")
    parser.add_argument(
        "--most", type=int, default=20, help="unequal values to list per case, at most"
    )
    arguments = parser.parse_args()
    cases = [case for case in CASES if case.name in arguments.cases]

    def of(place: Path) -> dict[str, Observation]:
        if place.is_file():
            return {
                name: Observation(**each) for name, each in json.loads(place.read_text()).items()
            }
        return collect(place, cases, arguments.executor, arguments.workers)

    before = of(arguments.before)
    if arguments.save:
        arguments.save.write_text(
            json.dumps({name: asdict(each) for name, each in before.items()}) + "\n"
        )
    after = of(arguments.after)
    found = [compare(case.name, before[case.name], after[case.name]) for case in cases]
    print("Compared values (unequal ones in brackets):\n")
    print("\n".join(table(found)))
    print("", *listed(found, arguments.most), "", sep="\n")
    print(
        "Not compared, measured:",
        ", ".join([*sorted(MEASURED), *(".".join(each) for each in sorted(MEASURED_IN))]),
    )
    print("Not compared, of the run:", ", ".join(sorted(OF_THE_RUN)))
    return int(any(case.failed for case in found))


if __name__ == "__main__":
    sys.exit(main())
