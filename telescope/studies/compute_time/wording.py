"""The words of a compute-time study's reasons and doubts. Nothing decides by them.

Parts: `words`, of a reason · `doubt_words`, `doubts_words` · `unread_words`, of a target loss · `origin_words`, of hyperparameters.
"""

from collections.abc import Sequence

from telescope.studies.compute_time.reasons import (
    BestAtEdge,
    Borrowed,
    Doubt,
    Doubted,
    EveryRateDiverged,
    Marked,
    NoTargets,
    NothingToRead,
    NotReached,
    OneSeed,
    OptimizerBatch,
    Reason,
    Resolved,
    Running,
    RunsCensored,
    RunsDiverged,
    RunsEarly,
    Stopped,
    Unread,
)

NAMES = {"muon": "Muon", "adamw": "AdamW"}


def words(reason: Reason) -> str:
    """A reason as people read it."""
    match reason:
        case Stopped(by=by, detail=detail):
            return f"{by}: {detail}" if detail else by
        case Running():
            return "runs are still to come"
        case Doubted(doubts=doubts):
            return doubts_words(doubts)
        case Resolved(tuned=tuned, jobs=jobs):
            whence = "found inside their ranges" if tuned else origin_words(jobs)
            return f"every run reached every target loss, at hyperparameters {whence}"


def doubts_words(doubts: Sequence[Doubt]) -> str:
    """Several doubts in one line; empty without any."""
    return "; ".join(map(doubt_words, doubts))


def doubt_words(doubt: Doubt) -> str:
    """A doubt as people read it."""
    match doubt:
        case EveryRateDiverged(batch_tokens=batch, lr_low=low, lr_high=high):
            return f"every learning rate from {low:.3g} to {high:.3g} diverged at batch {batch}"
        case BestAtEdge(batch_tokens=batch, edge=edge, lr=lr):
            return f"the best learning rate at batch {batch} is the {edge}est tried, {lr:.3g}"
        case Marked(mark=mark):
            return mark
        case NothingToRead(target_loss=loss) | NotReached(target_loss=loss):
            return f"loss {loss:g}: {unread_words(doubt)}"
        case Borrowed(batches=batches):
            return f"hyperparameters change with the batch, and these are those of the nearest one that has some: {named(batches)}"
        case NoTargets():
            return "the study names no target_losses; ask for some with `telescope frontier`"
        case RunsCensored(target_loss=loss, batches=batches):
            return f"not all runs reached loss {loss:g} within what they were trained for: {named(batches)}"
        case RunsDiverged(target_loss=loss, batches=batches):
            return f"some runs diverged before loss {loss:g}, which the others alone answer for: {named(batches)}"
        case RunsEarly(target_loss=loss, batches=batches):
            return f"some runs were below loss {loss:g} at their first point, so that is a bound: {named(batches)}"
        case OneSeed():
            return "with one seed nothing is known of the noise, and no interval has an end; give seeds: 2 or more"


def unread_words(unread: Unread) -> str:
    """Why a target loss cannot be read."""
    match unread:
        case NothingToRead():
            return "no run can be read yet; ask again when some have ended"
        case NotReached(highest_loss=high, lowest_loss=low):
            return f"no run reached it; their losses reach from {high:.4g} down to {low:.4g}"


def named(batches: Sequence[OptimizerBatch]) -> str:
    """Which optimizer at which batch."""
    return ", ".join(f"{NAMES[one.optimizer]} at {one.batch_tokens}" for one in batches)


def origin_words(jobs: Sequence[str]) -> str:
    """Where hyperparameters come from that were not searched for here."""
    return f"of jobs {', '.join(jobs)}" if jobs else "given"
