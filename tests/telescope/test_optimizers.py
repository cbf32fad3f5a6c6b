"""The tables of optimizers have a row for each; type checking finds the branches over them."""

from typing import get_args

import pytest

from telescope.export import torch_code
from telescope.parametrisation import mup
from telescope.parametrisation.roles import Role, trained_by
from telescope.studies.compute_time import plot
from telescope.studies.forecast import disk
from telescope.trials.types import (
    OPTIMIZER_TITLES,
    OptimizerName,
    Parametrisation,
    WeightDecayRule,
)


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_every_optimizer_is_in_every_table(name: OptimizerName) -> None:
    for table in (
        OPTIMIZER_TITLES,
        disk.STATES,
        plot.COLOURS,
        plot.MARKERS,
        torch_code.OPTIMIZERS,
    ):
        assert name in table
    for rule in get_args(WeightDecayRule):
        assert (rule, name) in mup.WEIGHT_DECAY
    for parametrisation in get_args(Parametrisation):
        for role in Role:
            assert (parametrisation, role, trained_by(name, role)) in mup.TABLE


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_every_optimizer_trains_the_hidden_matrices_itself(name: OptimizerName) -> None:
    assert trained_by(name, Role.HIDDEN) == name
