"""Comparison of two observations of a case, value by value.

- Must be equal to the last bit: numbers, codes (text without a space: states, verdicts, digests,
  names) and exit statuses.
- Left out by name: values that a clock measured (`MEASURED`) and values that identify a run
  (`OF_THE_RUN`).
- May differ: words (text with spaces, and the output of commands apart from its digits), unless
  they differ only in a number; and keys that only one side has.

Structured reasons (`because`, in reports from ea547aa on) are compared if both sides have one.
Every code and number in the reason before must occur in the reason after, in any place, since
values move when reasons gain parts. A number that only changes its type, such as 6.0 to 6, is
reported and is not an error.

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
"""Keys, at any depth, whose values a clock measured, or which follow from a measured time."""

MEASURED_IN = frozenset({("frontier", "on_frontier")})
"""Pairs (document, key): a measured key of this document alone. Elsewhere `on_frontier` is about
tokens and steps, which must be equal."""

MEASURED_LINES = ("frontier of hours",)
"""Phrases that mark lines of printed text with measured values."""

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
"""Keys that identify one run, its times, workers or software; they differ between any two runs."""

OF_THE_RUN_IN = frozenset({("export", "telescope")})
"""Pairs (document, key): a key of this document alone, here telescope's version."""

KINDS = ("digests", "states", "losses", "numbers", "codes")
DIGITS = re.compile(r"[-+±]?\d[\d,.]*(?:e[-+]?\d+)?")
IDS = re.compile(r"job-[0-9a-z]{26}")
MEASURE_OF_TIME = re.compile(r"# (?:ms|s|min|h|hours?|minutes?|seconds?)\b")
SPACES = re.compile(r"[ ─━-]{2,}")
REASON = re.compile(r"(.*?\.because)(?:\.|$)")
INDEX = re.compile(r"\[\d+\]|(?<=\.)[0-9a-f]{32}(?=\.|$)")


@dataclass(frozen=True)
class Leaf:
    """A scalar value of a document, and its path."""

    path: str
    value: str | float | None

    @property
    def is_words(self) -> bool:
        """True for text that people read: it contains a space, or is empty."""
        return isinstance(self.value, str) and (" " in self.value or not self.value)

    @property
    def reason(self) -> str | None:
        """The path of the structured reason that contains the leaf."""
        match = REASON.match(self.path)
        return match[1] if match else None

    @property
    def kind(self) -> str:
        """The column of the table that counts the leaf, one of `KINDS`."""
        columns = {"digest": "digests", "state": "states", "loss": "losses"}
        match self.path.split("."):
            case "trials", _, name if name in columns:
                return columns[name]
        return "codes" if isinstance(self.value, str) else "numbers"


def leaves(document: Any, path: str) -> Iterator[Leaf]:
    """Every scalar value of a document that is compared.

    `path` is the document's name, or the path of a part of it.
    """
    if isinstance(document, Mapping):
        name = path.partition(" ")[0].partition(".")[0]
        for key, value in document.items():
            if not (key in MEASURED | OF_THE_RUN or (name, key) in MEASURED_IN | OF_THE_RUN_IN):
                yield from leaves(value, f"{path}.{key}")
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from leaves(value, f"{path}[{index}]")
    else:
        yield Leaf(path, document)


@dataclass
class Difference:
    """The differences between the two observations of one case.

    `compared` counts values by kind. `unequal` holds (kind, before, after). `words` and `retyped`
    (numbers in reasons that changed their type) count (path, before, after); `removed` and `added`
    count paths.
    """

    case: str
    trials: tuple[int, int]
    seconds: tuple[float, float]
    compared: Counter[str] = field(default_factory=Counter)
    unequal: list[tuple[str, Leaf, Leaf | None]] = field(default_factory=list)
    words_compared: int = 0
    words: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    retyped: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> bool:
        """True if any value differs that must be equal."""
        return bool(self.unequal)

    def add_missing_trials(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Record the trials that only one side has, by digest."""
        for digest in sorted(before.keys() ^ after.keys()):
            side = "before" if digest in before else "after"
            self.unequal.append(("digests", Leaf(f"trials.{digest}", f"only {side}"), None))

    def add(self, before: Leaf, after: Leaf) -> None:
        """Compare two leaves of the same path."""
        if before.is_words or after.is_words:
            self._add_words(before, after)
            return
        self.compared[before.kind] += 1
        same_type = type(before.value) is type(after.value)
        if before.reason and before.value == after.value and not same_type:
            self.retyped[general(before.path), repr(before.value), repr(after.value)] += 1
        elif before.value != after.value or not same_type:
            self.unequal.append((before.kind, before, after))

    def _add_words(self, before: Leaf, after: Leaf) -> None:
        self.words_compared += 1
        old, new = (IDS.sub("JOB", str(leaf.value)) for leaf in (before, after))
        if old == new:
            return
        if DIGITS.sub("#", old) == DIGITS.sub("#", new):  # the same words about another number
            self.unequal.append(("numbers", before, after))
        else:
            self.words[general(before.path), old, new] += 1


def general(path: str) -> str:
    """A path without indices and digests, so that it is the same for every item of a list."""
    return INDEX.sub(lambda match: "[]" if match[0].startswith("[") else "*", path)


def compare(case: str, before: Observation, after: Observation) -> Difference:
    """Compare two observations of one case, value by value."""
    first, second = before.documents, after.documents
    trials = first.get("trials", {}), second.get("trials", {})
    difference = Difference(case, (len(trials[0]), len(trials[1])), (before.seconds, after.seconds))
    difference.add_missing_trials(*trials)
    shared = trials[0].keys() & trials[1].keys()
    for name in sorted(first.keys() | second.keys()):
        documents = [first.get(name), second.get(name)]
        if all(isinstance(document, str) for document in documents):
            _compare_texts(difference, name, *documents)
            continue
        if name in ("trials", "curves"):
            documents = [
                {key: value for key, value in (document or {}).items() if key in shared}
                for document in documents
            ]
        _compare_leaves(
            difference,
            *({leaf.path: leaf for leaf in leaves(document, name)} for document in documents),
        )
    return difference


def _compare_leaves(
    difference: Difference, before: Mapping[str, Leaf], after: Mapping[str, Leaf]
) -> None:
    for path, leaf in before.items():
        if path in after:
            difference.add(leaf, after[path])
        else:
            difference.removed[general(path)] += 1
    difference.added.update(general(path) for path in after.keys() - before.keys())
    for leaf in lost_from_reasons(before, after):
        difference.unequal.append((leaf.kind, leaf, Leaf(leaf.path, "missing")))


def lost_from_reasons(before: Mapping[str, Leaf], after: Mapping[str, Leaf]) -> Iterator[Leaf]:
    """Codes and numbers of reasons before that are missing in the same reasons after.

    Reasons that exist only before are skipped; `Difference.removed` counts them.
    """
    reasons = {leaf.reason for leaf in after.values()} - {None}
    moved = Counter((leaf.reason, leaf.value) for path, leaf in after.items() if path not in before)
    for path, leaf in before.items():
        if path in after or leaf.reason not in reasons or leaf.is_words or leaf.value is None:
            continue
        if moved[leaf.reason, leaf.value]:
            moved[leaf.reason, leaf.value] -= 1
        else:
            yield leaf


def _compare_texts(difference: Difference, name: str, before: str, after: str) -> None:
    """Compare the output of a command line by line, without digits.

    The documents of the case hold the numbers that it prints.
    """
    old_lines, new_lines = (
        [line for line in map(masked, text.splitlines()) if line] for text in (before, after)
    )
    difference.words_compared += len(old_lines)
    matcher = difflib.SequenceMatcher(None, old_lines, new_lines, autojunk=False)
    for operation, a, b, c, d in matcher.get_opcodes():
        if operation != "equal":
            pairs = itertools.zip_longest(old_lines[a:b], new_lines[c:d], fillvalue="(nothing)")
            for old, new in pairs:
                difference.words[name, old, new] += 1


def masked(line: str) -> str:
    """A printed line without digits, units of time, job ids and column widths.

    Returns "" for a line with measured values.
    """
    if any(phrase in line for phrase in MEASURED_LINES):
        return ""
    words = MEASURE_OF_TIME.sub("# time", DIGITS.sub("#", IDS.sub("JOB", line)))
    return SPACES.sub("  ", words).strip()
