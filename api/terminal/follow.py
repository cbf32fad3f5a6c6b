"""Functions that print the progress of a job until the job ends.

On a terminal, `follow` shows a live view of the progress. Elsewhere, for instance in a pipe,
`follow` prints lines of plain text, which describe what has changed.

The trials (training runs) of a job are grouped into levels (`LevelProgress`). Most levels hold the
trials of one optimizer at one width.
"""

import textwrap
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.live import Live

from api.terminal.progress import LevelProgress, ProgressView, live_view, pace_line, trouble

COLUMNS = 120  # maximal length of a plain line, in characters
LONGEST_NAME = 32  # maximal length of a job's name in a plain line, in characters


def changed_lines(view: ProgressView, before: ProgressView | None = None) -> list[str]:
    """Describe in plain text what has changed since the view `before`.

    If `before` is None, describes the whole view. Lines have at most `COLUMNS` characters. If the
    first line would be longer, the pace, some levels or the number of trials are left out. The
    line then states how many levels are left out. An explanation of what the job waits for, or of
    why it did not succeed, is printed on further lines if it is too long for the first line.
    """
    head = f"{shorten(view.name or view.id, LONGEST_NAME)}: {view.state.lower()}"
    levels = _changes(view, before)
    done, total = (sum(getattr(level, part) for level in view.levels) for part in ("done", "total"))
    totals = [f"{done}/{total} trials"] if view.levels else []
    explanation = trouble(view)
    if before and explanation == trouble(before):
        explanation = []
    if before and before.waiting_for and not view.waiting_for and not view.state.terminal:
        explanation = ["no longer waiting"]
    tails = [totals + pace_line(view), totals, []]
    if line := _fitted(head, levels, [tail + explanation for tail in tails]):
        return [line]
    first = _fitted(head, levels, tails) or f"{head} | {_more(len(levels), 0)}"
    text = " · ".join(explanation)
    return [first, *textwrap.wrap(text, COLUMNS, initial_indent="  ", subsequent_indent="  ")]


def _fitted(head: str, levels: Sequence[str], tails: Sequence[list[str]]) -> str | None:
    """Join the head of a line, as many levels as fit, and one of the tails.

    The tails are possible ends of the line, in order of preference: the first one that fits is
    used. The last tail is used only if no other fits, and together with at most one level. Returns
    None if the line is too long even then.
    """
    least = min(1, len(levels))
    choices = [(count, tail) for count in range(len(levels), least - 1, -1) for tail in tails[:-1]]
    for count, tail in [*choices, (least, tails[-1])]:
        more = _more(len(levels), count)
        joined = " | ".join(filter(None, [head, *levels[:count], more, " · ".join(tail)]))
        if len(joined) <= COLUMNS:
            return joined
    return None


def _more(levels: int, printed: int) -> str:
    """State how many changed levels a line leaves out. Empty if the line prints all of them."""
    omitted = levels - printed
    more = "more " if printed else ""
    return f"{omitted} {more}{'level' if omitted == 1 else 'levels'}" if omitted else ""


def _changes(view: ProgressView, before: ProgressView | None) -> list[str]:
    """Describe each level in which trials have ended or were added since the view `before`.

    Levels in which trials have ended come first.
    """
    earlier = {_key(level): level for level in before.levels} if before else {}
    several_optimizers = len({level.optimizer for level in view.levels}) > 1
    ended_lines, planned_lines = list[str](), list[str]()
    for level in view.levels:
        old = earlier.get(_key(level))
        if old == level:
            continue
        optimizer = level.optimizer if several_optimizers else ""
        name = " ".join(filter(None, (level.variant, optimizer, level.name)))
        best = ""
        if level.best_loss is not None and (old is None or old.best_loss != level.best_loss):
            best = f", best {level.best_loss:.4f} at lr {level.best_lr:.3g}"
        if old is None or (old.done, old.total) != (level.done, level.total):
            has_ended = level.done > (old.done if old else 0)
            (ended_lines if has_ended else planned_lines).append(
                f"{name}: {level.done}/{level.total}{best}"
            )
    return ended_lines + planned_lines


def _key(level: LevelProgress) -> tuple[object, ...]:
    """Return a key that identifies a level within its job."""
    return level.variant, level.optimizer, level.measure, level.width, level.batch_tokens


def shorten(text: str, length: int) -> str:
    """Return the text, cut to a length. If the text is cut, an ellipsis is its last character."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _printed_state(view: ProgressView) -> tuple[object, ...]:
    """Return the parts of a view that make `follow` print further lines when they change."""
    levels = tuple((_key(level), level.done, level.total) for level in view.levels)
    return view.state, view.waiting_for, levels


def follow(stream: Iterable[ProgressView], console: Console) -> ProgressView:
    """Print a job's progress until the stream of views ends. Returns the last view.

    The stream must have at least one view.
    """
    views = iter(stream)
    view = next(views)
    if console.is_terminal:
        with Live(live_view(view), console=console, refresh_per_second=4) as live:
            for view in views:
                live.update(live_view(view))
        return view
    console.out(*changed_lines(view), sep="\n", highlight=False)
    printed = view
    for view in views:
        if _printed_state(view) != _printed_state(printed):
            console.out(*changed_lines(view, printed), sep="\n", highlight=False)
            printed = view
    return view
