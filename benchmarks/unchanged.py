"""Did a change of the code change an answer? Two checkouts run the same cases, and every value is compared.

    python -m benchmarks.unchanged BEFORE AFTER [--cases quickstart judge] [--save before.json]

BEFORE and AFTER are folders with telescope's code; BEFORE may also be a file that `--save` wrote, so that the old
commit runs once. Cases run one after the other (`benchmarks.checkouts`): the quick start, the compute_time example,
the llama example, one judged CSV, and documents that are refused. Of each job are compared: the study, the preview,
the job, every trial with its specification, digest, state and curve, the report, the answers to further target
losses, the exports, and the exit statuses.

Numbers, codes (text without a space: states, verdicts, digests, names) and exit statuses must be equal to the last
bit. What a clock measured, and what names one run of the comparison, is left out, by name: `MEASURED`, `OF_THE_RUN`.
Words (text with spaces, and what commands print, its digits aside) may differ, but not in their numbers alone; so may
the keys that only one side has: both are listed. The exit status is 1 where anything differs that must not.

Losses are equal whether Ray or one thread trains, and in whatever company (ADR 13), as long as nothing is compiled.

Parts: `MEASURED`, `OF_THE_RUN` · `Leaf`, `leaves` · `Difference`, `compare` · `table`, `listed` · `main`.
"""

import argparse
import difflib
import itertools
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.checkouts import CASES, Case, Checkout, Observation, observe

MEASURED = frozenset(
    {
        "seconds",
        "step_seconds",
        "run_seconds",
        "tuning_seconds",
        "running_seconds",
        "hours",
        "hours_low",
        "hours_high",
        "hours_ratio",
        "dominance",  # of frontiers, which are drawn in hours
        "share_of_peak",
        "pace",
        "flops_per_second",
    }
)
"""Keys, at any depth, whose values a clock measured or that follow from such a value."""

MEASURED_IN = frozenset({("frontier", "on_frontier")})
"""Likewise, in documents of this name alone: in the others `on_frontier` is about tokens and steps."""

MEASURED_LINES = ("frontier of hours",)
"""Likewise, what a line of printed text is about."""

OF_THE_RUN = frozenset(
    {
        "id",
        "job_id",
        "job",
        "trial_id",
        "reused_from",
        "created_at",
        "date",
        "started_at",
        "ended_at",
        "running_since",
        "worker",
        "waiting_for",
        "version",
        "versions",
        "numerics",
    }
)
"""Keys that name one run, its moments, its workers or its software: different in every collection."""

KINDS = ("digests", "states", "losses", "numbers", "codes")
DIGITS = re.compile(r"[-+±]?\d[\d,.]*(?:e[-+]?\d+)?")
IDS = re.compile(r"job-[0-9a-z]{26}")
MEASURE_OF_TIME = re.compile(r"# (?:ms|s|min|h|hours?|minutes?|seconds?)\b")
SPACES = re.compile(r"[ ─━-]{2,}")
INDEX = re.compile(r"\[\d+\]|(?<=\.)[0-9a-f]{32}(?=\.|$)")


@dataclass(frozen=True)
class Leaf:
    """A value without parts, and where it stands."""

    path: str
    value: str | float | None

    @property
    def is_words(self) -> bool:
        """Text for people: it has a space, or is empty where there might be some."""
        return isinstance(self.value, str) and (" " in self.value or not self.value)

    @property
    def kind(self) -> str:
        """Which column of the table counts it."""
        if self.path.startswith("trials."):
            name = self.path.rpartition(".")[2]
            if (special := {"digest": "digests", "state": "states", "loss": "losses"}.get(name)) and self.path.count(".") == 2:
                return special
        return "codes" if isinstance(self.value, str) else "numbers"


def leaves(document: Any, path: str) -> Iterator[Leaf]:
    """Every value of a document that is compared."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            if key not in MEASURED and key not in OF_THE_RUN and (path.partition(" ")[0].partition(".")[0], key) not in MEASURED_IN:
                yield from leaves(value, f"{path}.{key}")
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from leaves(value, f"{path}[{index}]")
    else:
        yield Leaf(path, document)


@dataclass
class Difference:
    """What one case's two observations share and what they do not."""

    case: str
    trials: tuple[int, int]
    seconds: tuple[float, float]
    compared: Counter[str] = field(default_factory=Counter)  # by kind
    unequal: list[tuple[str, Leaf, Leaf | None]] = field(default_factory=list)  # kind, before, after
    words_compared: int = 0
    words: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # where, before, after
    removed: Counter[str] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> bool:
        """Whether anything differs that must not."""
        return bool(self.unequal)

    def missing(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Trials that one side alone has; the others' leaves are compared one by one."""
        for digest in sorted(before.keys() ^ after.keys()):
            side = "before" if digest in before else "after"
            self.unequal.append(("digests", Leaf(f"trials.{digest}", f"only {side}"), None))

    def add(self, before: Leaf, after: Leaf) -> None:
        """Two leaves of one place."""
        if before.is_words or after.is_words:
            self.words_compared += 1
            old, new = (IDS.sub("JOB", str(leaf.value)) for leaf in (before, after))
            if old != new and DIGITS.sub("#", old) == DIGITS.sub("#", new):
                self.unequal.append(("numbers", before, after))  # the same words about another number
            elif old != new:
                self.words[general(before.path), old, new] += 1
            return
        self.compared[before.kind] += 1
        if before.value != after.value or type(before.value) is not type(after.value):
            self.unequal.append((before.kind, before, after))


def general(path: str) -> str:
    """A path without indices and digests: the same place in every item."""
    return INDEX.sub(lambda found: "[]" if found[0].startswith("[") else "*", path)


def compare(case: str, before: Observation, after: Observation) -> Difference:
    """Two observations of one case, value by value."""
    first, second = before.documents, after.documents
    trials = first.get("trials", {}), second.get("trials", {})
    found = Difference(case, (len(trials[0]), len(trials[1])), (before.seconds, after.seconds))
    found.missing(*trials)
    shared = trials[0].keys() & trials[1].keys()
    for name in sorted(first.keys() | second.keys()):
        one, other = first.get(name), second.get(name)
        if isinstance(one, str) and isinstance(other, str):
            _compare_texts(found, name, one, other)
            continue
        if name in ("trials", "curves"):
            one, other = ({key: value for key, value in each.items() if key in shared} for each in (one or {}, other or {}))
        _compare_leaves(found, *({leaf.path: leaf for leaf in leaves(each, name)} for each in (one, other)))
    return found


def _compare_leaves(found: Difference, before: Mapping[str, Leaf], after: Mapping[str, Leaf]) -> None:
    for path, leaf in before.items():
        if path in after:
            found.add(leaf, after[path])
        else:
            found.removed[general(path)] += 1
    found.added.update(general(path) for path in after.keys() - before.keys())


def _compare_texts(found: Difference, name: str, before: str, after: str) -> None:
    """What a command prints, line by line: its numbers are compared as documents."""
    lines = [list(filter(None, map(masked, text.splitlines()))) for text in (before, after)]
    found.words_compared += len(lines[0])
    for operation, a, b, c, d in difflib.SequenceMatcher(None, lines[0], lines[1], autojunk=False).get_opcodes():
        if operation != "equal":
            for one, other in itertools.zip_longest(lines[0][a:b], lines[1][c:d], fillvalue="(nothing)"):
                found.words[name, one, other] += 1


def masked(line: str) -> str:
    """A printed line without its digits, the unit of a time, the job's id, and the widths of its columns; empty where measured."""
    if any(words in line for words in MEASURED_LINES):
        return ""
    said = MEASURE_OF_TIME.sub("# time", DIGITS.sub("#", IDS.sub("JOB", line)))
    return SPACES.sub("  ", said).strip()


def table(found: Sequence[Difference]) -> list[str]:
    """Per case what was compared, and how much of it differs."""
    head = ["case", "trials", *KINDS, "words", "keys removed", "keys added", "seconds"]
    rows = [head]
    for case in found:
        trials = str(case.trials[0]) if len(set(case.trials)) == 1 else f"{case.trials[0]} -> {case.trials[1]}"
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
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def listed(found: Sequence[Difference], most: int) -> Iterator[str]:
    """Every difference: what must not be first, then words, then keys."""
    for case in found:
        for kind, before, after in case.unequal[:most]:
            yield f"UNEQUAL {case.case} {kind} {before.path}: {before.value!r}" + (f" -> {after.value!r}" if after else "")
        if len(case.unequal) > most:
            yield f"UNEQUAL {case.case}: {len(case.unequal) - most:,} more"
    places: dict[tuple[str, str], Counter[str]] = {}
    for case in found:
        for (path, old, new), count in case.words.items():
            places.setdefault((old, new), Counter())[f"{case.case} {path}"] += count
    for (old, new), counts in sorted(places.items()):
        yield f"words: {old}\n    ->   {new}\n         in {', '.join(sorted(counts))} ({counts.total()} times)"
    for case in found:
        for sign, keys in (("removed", case.removed), ("added", case.added)):
            yield from (f"key {sign}: {case.case} {path} ({count} values)" for path, count in sorted(keys.items()))


def collect(folder: Path, cases: Sequence[Case], executor: str, workers: int) -> dict[str, Observation]:
    """Each case once in one checkout, one after the other."""
    checkout, found = Checkout(folder.resolve()), {}
    for case in cases:
        print(f"{folder}: {case.name} ...", file=sys.stderr, flush=True)
        found[case.name] = observe(checkout, case, executor, workers)
        print(f"{folder}: {case.name}, {found[case.name].seconds:g} s", file=sys.stderr, flush=True)
    return found


def main() -> int:
    """Collect, compare, say; the exit status."""
    parser = argparse.ArgumentParser(description="Compare the answers of two checkouts of telescope, value by value.")
    parser.add_argument("before", type=Path, help="a checkout, or a collection that --save wrote")
    parser.add_argument("after", type=Path, help="a checkout, or a collection")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], default=[case.name for case in CASES])
    parser.add_argument("--save", type=Path, help="write what BEFORE said to this file, to be given as BEFORE another time")
    parser.add_argument("--executor", choices=["local", "ray"], default="ray", help="who runs the trials")
    parser.add_argument("--workers", type=int, default=2, help="of Ray")
    parser.add_argument("--most", type=int, default=20, help="unequal values to list, per case")
    arguments = parser.parse_args()
    cases = [case for case in CASES if case.name in arguments.cases]

    def of(place: Path) -> dict[str, Observation]:
        if place.is_file():
            return {name: Observation(**each) for name, each in json.loads(place.read_text()).items()}
        return collect(place, cases, arguments.executor, arguments.workers)

    before = of(arguments.before)
    if arguments.save:
        arguments.save.write_text(json.dumps({name: asdict(each) for name, each in before.items()}) + "\n")
    after = of(arguments.after)
    found = [compare(case.name, before[case.name], after[case.name]) for case in cases]
    print("Compared (of these unequal):\n")
    print("\n".join(table(found)))
    print("", *listed(found, arguments.most), "", sep="\n")
    print("Not compared, measured:", ", ".join([*sorted(MEASURED), *(".".join(each) for each in sorted(MEASURED_IN))]))
    print("Not compared, of the run:", ", ".join(sorted(OF_THE_RUN)))
    return int(any(case.failed for case in found))


if __name__ == "__main__":
    sys.exit(main())
