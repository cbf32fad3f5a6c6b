"""The text of a compute-time study's reasons and doubts, which the module `reasons` defines."""

from collections.abc import Sequence

from telescope.studies.compute_time.reasons import (
    BestAtEdge,
    Borrowed,
    Doubt,
    Doubted,
    EveryRateDiverged,
    NoAnswer,
    NoTargets,
    NothingToRead,
    NotReached,
    OneSeed,
    OptimizerBatch,
    Reason,
    Reservation,
    Resolved,
    RunsCensored,
    RunsDiverged,
    RunsEarly,
)
from telescope.studies.endings import RunsPending, StudyStopped, unfinished_words
from telescope.trials.types import OPTIMIZER_TITLES


def words(reason: Reason) -> str:
    """The text of a reason."""
    match reason:
        case StudyStopped() | RunsPending():
            return unfinished_words(reason)
        case Doubted(doubts=doubts):
            return doubts_words(doubts)
        case Resolved(tuned=tuned, jobs=jobs):
            origin = (
                "the best learning rates lie inside their grids"
                if tuned
                else f"the hyperparameters are {origin_words(jobs)}"
            )
            return f"all runs reached all target losses; {origin}"


def doubts_words(doubts: Sequence[Doubt]) -> str:
    """The text of several doubts, on one line; empty without doubts."""
    return "; ".join(map(doubt_words, doubts))


def doubt_words(doubt: Doubt) -> str:
    """The text of a doubt."""
    match doubt:
        case EveryRateDiverged(batch_tokens=batch, lr_low=low, lr_high=high):
            rates = f"every learning rate from {low:.3g} to {high:.3g}"
            return f"at batch {batch}, {rates} has at least one run that diverged"
        case BestAtEdge(batch_tokens=batch, edge=edge, lr=lr):
            return f"the best learning rate at batch {batch} is the {edge}est tried, {lr:.3g}"
        case Reservation(mark=mark):
            return mark
        case NothingToRead(target_loss=loss) | NotReached(target_loss=loss):
            return f"loss {loss:g}: {no_answer_words(doubt)}"
        case Borrowed(batches=batches):
            return (
                f"{batch_names(batches)} use the hyperparameters of the nearest tuned or given "
                "batch; other values may be better"
            )
        case NoTargets():
            return "the study sets no target_losses; query any loss with `telescope frontier`"
        case RunsCensored(target_loss=loss, batches=batches):
            return f"some runs ended before they reached loss {loss:g}: {batch_names(batches)}"
        case RunsDiverged(target_loss=loss, batches=batches):
            return (
                f"some runs diverged before they reached loss {loss:g} ({batch_names(batches)}); "
                "the answer rests on the other runs"
            )
        case RunsEarly(target_loss=loss, batches=batches):
            return (
                f"some runs were below loss {loss:g} at their first point "
                f"({batch_names(batches)}), "
                "so only an upper bound on their tokens to this loss is known"
            )
        case OneSeed():
            return (
                "a single seed gives no estimate of the noise and no intervals; "
                "set seeds to 2 or more"
            )


def no_answer_words(reason: NoAnswer) -> str:
    """The text of a reason why a target loss has no answer."""
    match reason:
        case NothingToRead():
            return (
                "no run has recorded a loss yet; query again when more runs have finished, or "
                "lower the learning rates if all runs diverged"
            )
        case NotReached(highest_loss=high, lowest_loss=low):
            return f"no run reached this loss; the losses range from {high:.4g} down to {low:.4g}"


def batch_names(batches: Sequence[OptimizerBatch]) -> str:
    """The text of a list of optimizers and batches, on one line."""
    return ", ".join(
        f"{OPTIMIZER_TITLES[batch.optimizer]} at batch {batch.batch_tokens}" for batch in batches
    )


def origin_words(jobs: Sequence[str]) -> str:
    """The origin of hyperparameters that the study did not tune, as text. `jobs` has the ids of the
    jobs that they were taken from."""
    return f"from jobs {', '.join(jobs)}" if jobs else "given"
