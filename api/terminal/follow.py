"""A job's progress until it ends: a live picture on a terminal, plain lines where output is piped.

Parts: `changed_lines`, what changed in plain text · `follow`.
"""

import textwrap
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.live import Live

from api.terminal.progress import LevelProgress, ProgressView, live_view, pace_line, trouble

COLUMNS = 120  # of plain lines
LONGEST_NAME = 32  # of a job, in plain lines


def changed_lines(now: ProgressView, before: ProgressView | None = None) -> list[str]:
    """Describe in plain text what changed since `before`; without it, everything.

    No line is longer than `COLUMNS`: pace and some levels are left out, the latter counted, and a
    long text on what the job waits for, or why it failed, continues on further lines.
    """
    head = f"{shorten(now.name or now.id, LONGEST_NAME)}: {now.state.lower()}"
    levels = _changes(now, before)
    done, total = (sum(getattr(level, part) for level in now.levels) for part in ("done", "total"))
    totals = [f"{done}/{total} trials"] if now.levels else []
    because = trouble(now)
    if before and because == trouble(before):
        because = []
    if before and before.waiting_for and not now.waiting_for and not now.state.terminal:
        because = ["no longer waiting"]
    tails = [totals + pace_line(now), totals, []]
    if line := _fitted(head, levels, [tail + because for tail in tails]):
        return [line]
    first = _fitted(head, levels, tails) or f"{head} | {_more(len(levels), 0)}"
    text = " · ".join(because)
    return [first, *textwrap.wrap(text, COLUMNS, initial_indent="  ", subsequent_indent="  ")]


def _fitted(head: str, levels: Sequence[str], tails: Sequence[list[str]]) -> str | None:
    """Join head, as many levels as fit, and the longest tail that fits; None without any level.

    The last tail is for a single level.
    """
    least = min(1, len(levels))
    choices = [(count, tail) for count in range(len(levels), least - 1, -1) for tail in tails[:-1]]
    for count, tail in [*choices, (least, tails[-1])]:
        more = _more(len(levels), count)
        joined = " | ".join(filter(None, [head, *levels[:count], more, " · ".join(tail)]))
        if len(joined) <= COLUMNS:
            return joined
    return None


def _more(levels: int, shown: int) -> str:
    """The number of changed levels that a line leaves out; empty for none."""
    left = levels - shown
    more = "more " if shown else ""
    return f"{left} {more}{'level' if left == 1 else 'levels'}" if left else ""


def _changes(now: ProgressView, before: ProgressView | None) -> list[str]:
    """The levels that changed, those with ended trials first; of each, what changed."""
    earlier = {_key(level): level for level in before.levels} if before else {}
    several = len({level.optimizer for level in now.levels}) > 1
    ended, planned = list[str](), list[str]()
    for level in now.levels:
        old = earlier.get(_key(level))
        if old == level:
            continue
        optimizer = level.optimizer if several else ""
        who = " ".join(filter(None, (level.variant, optimizer, level.name)))
        best = ""
        if level.best_loss is not None and (old is None or old.best_loss != level.best_loss):
            best = f", best {level.best_loss:.4f} at lr {level.best_lr:.3g}"
        if old is None or (old.done, old.total) != (level.done, level.total):
            has_ended = level.done > (old.done if old else 0)
            (ended if has_ended else planned).append(f"{who}: {level.done}/{level.total}{best}")
    return ended + planned


def _key(level: LevelProgress) -> tuple[object, ...]:
    return level.variant, level.optimizer, level.measure, level.width, level.batch_tokens


def shorten(text: str, length: int) -> str:
    """Cut a text to a length, with an ellipsis in place of the rest."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _news(now: ProgressView) -> tuple[object, ...]:
    """The parts of a job's progress whose change is worth another line."""
    levels = tuple((_key(level), level.done, level.total) for level in now.levels)
    return now.state, now.waiting_for, levels


def follow(stream: Iterable[ProgressView], console: Console) -> ProgressView:
    """Print a job's progress until the stream ends; return the last one."""
    states = iter(stream)
    now = next(states)
    if console.is_terminal:
        with Live(live_view(now), console=console, refresh_per_second=4) as live:
            for now in states:
                live.update(live_view(now))
        return now
    console.out(*changed_lines(now), sep="\n", highlight=False)
    printed = now
    for now in states:
        if _news(now) != _news(printed):
            console.out(*changed_lines(now, printed), sep="\n", highlight=False)
            printed = now
    return now
