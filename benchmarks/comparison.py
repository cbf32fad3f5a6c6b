"""Comparison of two observations of a case, value by value.

Numbers, codes (text without a space: states, verdicts, digests, names) and exit statuses must be
equal to the last bit. Values measured by a clock, and values that identify a run, are left out, by
name: `MEASURED`, `OF_THE_RUN`. Words (text with spaces, and the output of commands apart from its
digits) may differ, but not only in their numbers; keys that only one side has may differ too.

A reason as values (`because`, in reports from ea547aa on) is compared where both sides have one:
every code and number of the first side's must occur in the other's, at any place, since values move
as reasons gain parts. A number that only changed its type, as 6.0 to 6, is reported.

Parts: `MEASURED`, `OF_THE_RUN` · `Leaf`, `leaves` · `Difference`, `compare`, `lost_from_reasons` ·
`masked`.
"""

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.checkouts import Observation

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
"""Such keys in documents of this name only: in others `on_frontier` is about tokens and steps."""

MEASURED_LINES = ("frontier of hours",)
"""Subjects of lines of printed text that hold such values."""

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
"""Keys that identify one run, its times, workers or software; they differ in every collection."""

KINDS = ("digests", "states", "losses", "numbers", "codes")
DIGITS = re.compile(r"[-+±]?\d[\d,.]*(?:e[-+]?\d+)?")
IDS = re.compile(r"job-[0-9a-z]{26}")
MEASURE_OF_TIME = re.compile(r"# (?:ms|s|min|h|hours?|minutes?|seconds?)\b")
SPACES = re.compile(r"[ ─━-]{2,}")
REASON = re.compile(r"(.*?\.because)(?:\.|$)")
INDEX = re.compile(r"\[\d+\]|(?<=\.)[0-9a-f]{32}(?=\.|$)")


@dataclass(frozen=True)
class Leaf:
    """A value without parts, and its place."""

    path: str
    value: str | float | None

    @property
    def is_words(self) -> bool:
        """True for text for people: it has a space, or is empty where text could be."""
        return isinstance(self.value, str) and (" " in self.value or not self.value)

    @property
    def reason(self) -> str | None:
        """The place of the reason that the leaf is part of."""
        found = REASON.match(self.path)
        return found[1] if found else None

    @property
    def kind(self) -> str:
        """The column of the table that counts the leaf."""
        if self.path.startswith("trials."):
            name = self.path.rpartition(".")[2]
            if (
                special := {"digest": "digests", "state": "states", "loss": "losses"}.get(name)
            ) and self.path.count(".") == 2:
                return special
        return "codes" if isinstance(self.value, str) else "numbers"


def leaves(document: Any, path: str) -> Iterator[Leaf]:
    """Every value of a document that is compared."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            if (
                key not in MEASURED
                and key not in OF_THE_RUN
                and (path.partition(" ")[0].partition(".")[0], key) not in MEASURED_IN
            ):
                yield from leaves(value, f"{path}.{key}")
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from leaves(value, f"{path}[{index}]")
    else:
        yield Leaf(path, document)


@dataclass
class Difference:
    """The equal and the different values of one case's two observations."""

    case: str
    trials: tuple[int, int]
    seconds: tuple[float, float]
    compared: Counter[str] = field(default_factory=Counter)  # by kind
    unequal: list[tuple[str, Leaf, Leaf | None]] = field(
        default_factory=list
    )  # kind, before, after
    words_compared: int = 0
    words: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # where, before, after
    retyped: Counter[tuple[str, str, str]] = field(
        default_factory=Counter
    )  # in reasons: where, before, after
    removed: Counter[str] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> bool:
        """True if any value differs that must not."""
        return bool(self.unequal)

    def missing(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Note trials that only one side has; leaves of the others are compared one by one."""
        for digest in sorted(before.keys() ^ after.keys()):
            side = "before" if digest in before else "after"
            self.unequal.append(("digests", Leaf(f"trials.{digest}", f"only {side}"), None))

    def add(self, before: Leaf, after: Leaf) -> None:
        """Compare two leaves of one place."""
        if before.is_words or after.is_words:
            self.words_compared += 1
            old, new = (IDS.sub("JOB", str(leaf.value)) for leaf in (before, after))
            if old != new and DIGITS.sub("#", old) == DIGITS.sub("#", new):
                self.unequal.append(
                    ("numbers", before, after)
                )  # the same words about another number
            elif old != new:
                self.words[general(before.path), old, new] += 1
            return
        self.compared[before.kind] += 1
        if (
            before.reason
            and before.value == after.value
            and type(before.value) is not type(after.value)
        ):
            self.retyped[general(before.path), repr(before.value), repr(after.value)] += 1
        elif before.value != after.value or type(before.value) is not type(after.value):
            self.unequal.append((before.kind, before, after))


def general(path: str) -> str:
    """A path without indices and digests: the same place in every item."""
    return INDEX.sub(lambda found: "[]" if found[0].startswith("[") else "*", path)


def compare(case: str, before: Observation, after: Observation) -> Difference:
    """Compare two observations of one case, value by value."""
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
            one, other = (
                {key: value for key, value in each.items() if key in shared}
                for each in (one or {}, other or {})
            )
        _compare_leaves(
            found, *({leaf.path: leaf for leaf in leaves(each, name)} for each in (one, other))
        )
    return found


def _compare_leaves(
    found: Difference, before: Mapping[str, Leaf], after: Mapping[str, Leaf]
) -> None:
    for path, leaf in before.items():
        if path in after:
            found.add(leaf, after[path])
        else:
            found.removed[general(path)] += 1
    found.added.update(general(path) for path in after.keys() - before.keys())
    for leaf in lost_from_reasons(before, after):
        found.unequal.append((leaf.kind, leaf, Leaf(leaf.path, "missing")))


def lost_from_reasons(before: Mapping[str, Leaf], after: Mapping[str, Leaf]) -> Iterator[Leaf]:
    """Codes and numbers of a reason that are missing in the other side's, if that has one."""
    given = {leaf.reason for leaf in after.values()}
    moved = Counter((leaf.reason, leaf.value) for path, leaf in after.items() if path not in before)
    for path, leaf in before.items():
        if (
            path in after
            or leaf.reason is None
            or leaf.reason not in given
            or leaf.is_words
            or leaf.value is None
        ):
            continue
        if moved[leaf.reason, leaf.value]:
            moved[leaf.reason, leaf.value] -= 1
        else:
            yield leaf


def _compare_texts(found: Difference, name: str, before: str, after: str) -> None:
    """Compare the output of a command line by line; its numbers are compared like documents."""
    lines = [list(filter(None, map(masked, text.splitlines()))) for text in (before, after)]
    found.words_compared += len(lines[0])
    for operation, a, b, c, d in difflib.SequenceMatcher(
        None, lines[0], lines[1], autojunk=False
    ).get_opcodes():
        if operation != "equal":
            for one, other in itertools.zip_longest(
                lines[0][a:b], lines[1][c:d], fillvalue="(nothing)"
            ):
                found.words[name, one, other] += 1


def masked(line: str) -> str:
    """A printed line without its digits, units of time, job id and column widths.

    Empty for a line with measured values.
    """
    if any(words in line for words in MEASURED_LINES):
        return ""
    said = MEASURE_OF_TIME.sub("# time", DIGITS.sub("#", IDS.sub("JOB", line)))
    return SPACES.sub("  ", said).strip()
