"""Outcomes of a trial: the transitions of its state, and divergence as a result."""

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
    metrics = {"train_loss": 3.0} | ({} if loss is None else {"loss": loss})
    return Measurement(10, 2560, 1e6, 0.5, metrics)


@pytest.mark.parametrize("current", TrialState)
@pytest.mark.parametrize("to", TrialState)
def test_only_transitions_of_the_table_are_allowed(current: TrialState, to: TrialState) -> None:
    if to in TRANSITIONS[current]:
        assert next_trial_state(current, to) is to
    else:
        with pytest.raises(Conflict, match=f"is {current} cannot become {to}"):
            next_trial_state(current, to)


def test_every_state_has_a_meaning_and_ended_states_are_terminal() -> None:
    assert set(MEANING) == set(TrialState)
    assert {state for state in TrialState if state.terminal} == {
        TrialState.COMPLETED,
        TrialState.FAILED,
        TrialState.STOPPED,
    }


def test_a_finite_loss_is_the_trials_loss() -> None:
    trial = completed(SPEC, [point(None), point(2.5)])
    assert (trial.loss, trial.flops, trial.seconds) == (2.5, 1e6, 0.5)
    assert not trial.diverged
    assert trial.failure is None


@pytest.mark.parametrize("loss", [math.inf, math.nan, None])
def test_a_loss_that_is_missing_or_not_finite_is_divergence(loss: float | None) -> None:
    trial = completed(SPEC, [point(loss)])
    assert trial.state is TrialState.COMPLETED
    assert trial.loss == math.inf
    assert trial.diverged
