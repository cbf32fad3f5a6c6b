"""The muP table: neutral at the base width, the stated exponents elsewhere."""

from dataclasses import astuple, replace

import pytest
import torch

from telescope import mup
from telescope.model import Transformer
from telescope.optimizer import describe
from telescope.roles import Role
from telescope.spec import ModelSpec, OptimizerSpec

BASE = ModelSpec(width=32, base_width=32)
WIDE = ModelSpec(width=128, base_width=32)
MUON = OptimizerSpec(name="muon", lr=0.5, weight_decay=0.25, eps=1e-8)
ADAMW = replace(MUON, name="adamw")


@pytest.mark.parametrize(("parametrisation", "role", "trained_by"), mup.TABLE)
def test_every_factor_is_exactly_one_at_the_base_width(
    parametrisation: mup.Parametrisation, role: Role, trained_by: mup.OptimizerName
) -> None:
    spec = replace(MUON, name=trained_by, parametrisation=parametrisation)
    assert mup.factors(BASE, spec, role, trained_by) == mup.Factors(1.0, 1.0, 1.0, 1.0, 1.0)


def test_the_table_covers_every_group_that_can_arise() -> None:
    pairs = {(role, "adamw") for role in Role} | {(Role.HIDDEN, "muon")}
    assert set(mup.TABLE) == {(p, role, o) for p in ("mup", "mup-paper", "standard") for role, o in pairs}


# parametrisation, role, optimizer: factors of init std, lr, weight decay, eps, forward multiplier at m = 4
AT_FOUR_TIMES_THE_WIDTH = {
    ("mup", Role.EMBEDDING, "adamw"): (1, 1, 1, 1, 1),
    ("mup", Role.HIDDEN, "adamw"): (1 / 2, 1 / 4, 4, 1 / 4, 1),
    ("mup", Role.HIDDEN, "muon"): (1 / 2, 1, 1, 1, 1),
    ("mup", Role.READOUT, "adamw"): (1, 1, 1, 1, 1 / 4),
    ("mup", Role.VECTOR, "adamw"): (1, 1, 1, 1, 1),
    ("mup-paper", Role.EMBEDDING, "adamw"): (1 / 2, 1 / 2, 1, 1, 2),
    ("mup-paper", Role.HIDDEN, "adamw"): (1 / 2, 1 / 4, 1, 1, 1),
    ("mup-paper", Role.HIDDEN, "muon"): (1 / 2, 1 / 4, 1, 1, 1),
    ("mup-paper", Role.READOUT, "adamw"): (1 / 2, 1 / 2, 1, 1, 1 / 2),
    ("mup-paper", Role.VECTOR, "adamw"): (1, 1, 1, 1, 1),
    ("standard", Role.EMBEDDING, "adamw"): (1, 1, 1, 1, 1),
    ("standard", Role.HIDDEN, "adamw"): (1 / 2, 1, 1, 1, 1),
    ("standard", Role.HIDDEN, "muon"): (1 / 2, 1, 1, 1, 1),
    ("standard", Role.READOUT, "adamw"): (1 / 2, 1, 1, 1, 1),
    ("standard", Role.VECTOR, "adamw"): (1, 1, 1, 1, 1),
}


@pytest.mark.parametrize(("row", "expected"), AT_FOUR_TIMES_THE_WIDTH.items())
def test_every_row_of_the_table_has_its_documented_factors(
    row: tuple[mup.Parametrisation, Role, mup.OptimizerName], expected: tuple[float, ...]
) -> None:
    parametrisation, role, trained_by = row
    spec = replace(MUON, name=trained_by, parametrisation=parametrisation)
    assert astuple(mup.factors(WIDE, spec, role, trained_by)) == expected
    assert row in mup.TABLE
    assert len(AT_FOUR_TIMES_THE_WIDTH) == len(mup.TABLE)


def test_each_parametrisation_has_its_own_update_scale_unless_told_otherwise() -> None:
    for parametrisation, expected in {"mup": 0.5, "mup-paper": 0.2 * 512**0.5, "standard": 0.2 * 512**0.5}.items():
        spec = replace(MUON, parametrisation=parametrisation)
        assert mup.update_scale(spec, 128, 512) == pytest.approx(expected)
        assert mup.update_scale(replace(spec, update_scale="none"), 128, 512) == 1.0


def test_forward_multipliers_are_applied_to_the_embedding_and_to_the_head() -> None:
    narrow = replace(WIDE, base_width=128)
    tokens = torch.arange(12).reshape(1, 12)
    for parametrisation, embedding, head in (("mup", 1.0, 1 / 4), ("mup-paper", 2.0, 1 / 2)):
        seen, reference = Transformer(WIDE, 100, 16, parametrisation), Transformer(narrow, 100, 16, parametrisation)  # type: ignore[arg-type]
        torch.nn.init.normal_(seen.head.weight)  # type: ignore[union-attr]
        reference.load_state_dict(seen.state_dict())
        with torch.no_grad():
            reference.embedding.weight *= embedding
            reference.head.weight *= head  # type: ignore[union-attr]
        torch.testing.assert_close(seen(tokens), reference(tokens))


def effective(spec: OptimizerSpec, model: ModelSpec, role: Role) -> tuple[float, float, float | None, float]:
    """scaled lr, decay, eps and multiplier of a role."""
    (found, *_) = [group for group in describe(model, 100, spec) if group.role is role]
    return found.scaled_lr, found.weight_decay, found.eps, found.multiplier


def test_adamw_under_mup_scales_as_the_reference_table_at_four_times_the_width() -> None:
    assert effective(ADAMW, WIDE, Role.EMBEDDING) == (0.5, 0.25, 1e-8, 1.0)
    assert effective(ADAMW, WIDE, Role.HIDDEN) == (0.125, 1.0, 2.5e-9, 1.0)
    assert effective(ADAMW, WIDE, Role.READOUT) == (0.5, 0.25, 1e-8, 0.25)
    assert effective(ADAMW, WIDE, Role.VECTOR) == (0.5, 0.0, 1e-8, 1.0)


def test_muon_under_mup_keeps_lr_and_decay_and_gives_adamw_its_ratio() -> None:
    assert effective(MUON, WIDE, Role.HIDDEN)[:3] == (0.5, 0.25, None)
    assert effective(MUON, WIDE, Role.EMBEDDING)[:2] == (0.25, 0.25)
    assert effective(MUON, WIDE, Role.READOUT) == (0.25, 0.25, 1e-8, 0.25)


def test_the_paper_as_printed_relative_and_absolute() -> None:
    relative = replace(MUON, parametrisation="mup-paper")
    absolute = replace(relative, lr_convention="absolute")
    assert effective(relative, WIDE, Role.HIDDEN)[:2] == (0.5 / 4, 0.25)
    assert effective(absolute, WIDE, Role.HIDDEN)[0] == pytest.approx(0.5 / 128)
    assert effective(relative, WIDE, Role.EMBEDDING)[0] == pytest.approx(0.25 / 2)
    assert effective(relative, WIDE, Role.EMBEDDING)[3] == pytest.approx(2.0)
    assert effective(relative, WIDE, Role.READOUT)[3] == pytest.approx(0.5)
    assert mup.update_scale(relative, 128, 512) == pytest.approx(0.2 * 512**0.5)


def test_standard_scales_nothing_but_the_initial_values() -> None:
    spec = replace(ADAMW, parametrisation="standard")
    for role in (Role.EMBEDDING, Role.HIDDEN, Role.READOUT):
        assert effective(spec, WIDE, role) == (0.5, 0.25, 1e-8, 1.0)


def test_hidden_matrices_start_at_one_over_root_fan_in_at_every_width() -> None:
    for spec in (BASE, WIDE):
        stds = {group.init_std for group in describe(spec, 100, ADAMW) if group.role is Role.HIDDEN}
        width, residual = spec.width, 0.5  # depth 2: 1/sqrt(2 x 2)
        expected = {width**-0.5, width**-0.5 * residual, (4 * width) ** -0.5 * residual}
        assert sorted(stds) == pytest.approx(sorted(expected))


def test_a_tied_head_takes_its_multiplier_and_no_group_of_its_own() -> None:
    tied = replace(WIDE, tied_embeddings=True)
    model = Transformer(tied, 100, 16, "mup")
    assert model.head_multiplier == pytest.approx(32**-0.5 / 4)
    assert Role.READOUT not in model.parameter_roles().values()
