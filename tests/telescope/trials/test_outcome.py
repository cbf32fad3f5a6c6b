"""States of a trial: legal transitions only, and divergence as a result."""

import math

import pytest

from telescope.errors import Conflict
from telescope.trials.outcome import (
    MEANING,
    TRANSITIONS,
    Measurement,
    TrialState,
    completed,
    next_trial_state,
)
from tests.telescope.trials.test_spec import SPEC


def point(loss: float | None) -> Measurement:
    return Measurement(
        10, 2560, 1e6, 0.5, {"train_loss": 3.0} | ({} if loss is None else {"loss": loss})
    )


@pytest.mark.parametrize("current", TrialState)
@pytest.mark.parametrize("to", TrialState)
def test_the_table_of_transitions_is_the_law(current: TrialState, to: TrialState) -> None:
    if to in TRANSITIONS[current]:
        assert next_trial_state(current, to) is to
    else:
        with pytest.raises(Conflict, match=f"is {current} cannot become {to}"):
            next_trial_state(current, to)


def test_every_state_has_its_sentence_and_the_ended_ones_are_terminal() -> None:
    assert set(MEANING) == set(TrialState)
    assert {state for state in TrialState if state.terminal} == {
        TrialState.COMPLETED,
        TrialState.FAILED,
        TrialState.STOPPED,
    }


def test_a_finite_loss_is_the_trials_loss() -> None:
    trial = completed(SPEC, [point(None), point(2.5)])
    assert (trial.loss, trial.flops, trial.seconds, trial.diverged, trial.failure) == (
        2.5,
        1e6,
        0.5,
        False,
        None,
    )


@pytest.mark.parametrize("loss", [math.inf, math.nan, None])
def test_anything_else_is_divergence_and_worse_than_any_finite_loss(loss: float | None) -> None:
    trial = completed(SPEC, [point(loss)])
    assert trial.state is TrialState.COMPLETED
    assert trial.loss == math.inf
    assert trial.diverged
