"""Comparison of the outputs of two commits for one case, value by value.

A case is one job or command that both commits run. The outputs are an `Observation` of the earlier
commit ("before") and an `Observation` of the later commit ("after").

- Numbers, exit statuses and codes must be equal to the last bit. A code is a text without a space,
  such as a state, a verdict, a digest or a name.
- Values that depend on a clock (`MEASURED`), and values that differ between any two runs
  (`OF_THE_RUN`), are not compared.
- Words are texts with spaces. They may differ, but not only in a number.
- In the printed output of commands, digits are ignored and words may differ.
- Keys that only one of the outputs has are listed, and are no error.

A report may give a reason as a structured value under the key `because` (from commit ea547aa on).
If both reports have this value, every code and number of the earlier reason must occur in the later
reason, at any place, since values change their place when a reason gains parts. A number in a
reason that changes only its type, such as 6.0 to 6, is listed and is no error.
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
        "dominance",  # compares hours
        "share_of_peak",
        "pace",
        "flops_per_second",
    }
)
"""Keys, at any depth, of values that a clock measured or that follow from a measured time."""

MEASURED_IN = frozenset({("frontier", "on_frontier")})
"""Pairs (document, key): in this document, the value of this key follows from a measured time. In
other documents, `on_frontier` follows from tokens and steps and must be equal."""

MEASURED_LINES = ("frontier of hours",)
"""Phrases that occur in the lines of printed text that contain measured values."""

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
"""Keys of values that identify a run, or its times, workers or software. The values differ between
any two runs."""

OF_THE_RUN_IN = frozenset({("export", "telescope")})
"""Pairs (document, key): in this document, the value of this key differs between any two runs. The
only such value is telescope's version in an export."""

KINDS = ("digests", "states", "losses", "numbers", "codes")
DIGITS = re.compile(r"[-+±]?\d[\d,.]*(?:e[-+]?\d+)?")
IDS = re.compile(r"job-[0-9a-z]{26}")
MEASURE_OF_TIME = re.compile(r"# (?:ms|s|min|h|hours?|minutes?|seconds?)\b")
SPACES = re.compile(r"[ ─━-]{2,}")
REASON = re.compile(r"(.*?\.because)(?:\.|$)")
INDEX = re.compile(r"\[\d+\]|(?<=\.)[0-9a-f]{32}(?=\.|$)")


@dataclass(frozen=True)
class Leaf:
    """A value of a document that is neither a mapping nor a list, and its path."""

    path: str
    value: str | float | None

    @property
    def is_words(self) -> bool:
        """True for text that people read: it contains a space, or is empty."""
        return isinstance(self.value, str) and (" " in self.value or not self.value)

    @property
    def reason(self) -> str | None:
        """The path of the structured reason that contains the leaf. None if no reason does."""
        match = REASON.match(self.path)
        return match[1] if match else None

    @property
    def kind(self) -> str:
        """The column of the printed table that counts the leaf, one of `KINDS`."""
        columns = {"digest": "digests", "state": "states", "loss": "losses"}
        match self.path.split("."):
            case "trials", _, name if name in columns:
                return columns[name]
        return "codes" if isinstance(self.value, str) else "numbers"


def leaves(document: Any, path: str) -> Iterator[Leaf]:
    """Yield every leaf of a document that must be compared.

    `path` is the document's name. In recursive calls it is the path of a part of the document.
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
    """The differences between the two outputs of one case.

    `compared` counts the compared values by kind. `unequal` lists the values that must be equal but
    are not, as (kind, before, after). `words` counts texts that differ, and `retyped` counts
    numbers in reasons that changed only their type, both by (path, before, after). `removed` and
    `added` count the keys that only the earlier or only the later output has, by path.
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
        """Record the trials, identified by digest, that only one of the outputs has."""
        for digest in sorted(before.keys() ^ after.keys()):
            side = "before" if digest in before else "after"
            self.unequal.append(("digests", Leaf(f"trials.{digest}", f"only {side}"), None))

    def add(self, before: Leaf, after: Leaf) -> None:
        """Compare two leaves that have the same path."""
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
        if DIGITS.sub("#", old) == DIGITS.sub("#", new):  # the texts differ only in numbers
            self.unequal.append(("numbers", before, after))
        else:
            self.words[general(before.path), old, new] += 1


def general(path: str) -> str:
    """Replace indices and digests in a path, so that all items of a list have the same path."""
    return INDEX.sub(lambda match: "[]" if match[0].startswith("[") else "*", path)


def compare(case: str, before: Observation, after: Observation) -> Difference:
    """Compare two outputs of one case, value by value."""
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
    """Yield the codes and numbers of earlier reasons that the later reasons no longer contain.

    Reasons that only the earlier output has are skipped. `Difference.removed` counts their keys.
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
    """Compare the printed output of a command line by line, ignoring digits.

    The numbers that a command prints are compared in the JSON documents of the case.
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
    """Replace the digits, units of time, job ids and long spaces in a printed line.

    Returns "" if the line contains measured values.
    """
    if any(phrase in line for phrase in MEASURED_LINES):
        return ""
    words = MEASURE_OF_TIME.sub("# time", DIGITS.sub("#", IDS.sub("JOB", line)))
    return SPACES.sub("  ", words).strip()
