"""Scaling rules: factors of 1 at the base width and depth, the documented exponents elsewhere, and
the spectral norm of Muon's steps.
"""

import math
from dataclasses import astuple, replace
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from telescope.models.transformer import Transformer, initialise
from telescope.optim.groups import describe_groups
from telescope.optim.muon import Muon
from telescope.optim.optimizer import build_optimizer
from telescope.parametrisation import initial_values, mup
from telescope.parametrisation.roles import Role
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.types import (
    HeadForm,
    MuonLrRule,
    Parametrisation,
    UpdateScale,
    WeightDecayRule,
)

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


@settings(deadline=None, max_examples=40)
@given(
    options=st.fixed_dictionaries(
        {
            "name": st.sampled_from(["muon", "adamw"]),
            "parametrisation": st.sampled_from(get_args(Parametrisation)),
            "update_scale": st.sampled_from([None, *get_args(UpdateScale)]),
            "muon_lr_rule": st.sampled_from([None, *get_args(MuonLrRule)]),
            "weight_decay_rule": st.sampled_from([None, *get_args(WeightDecayRule)]),
            "lr_convention": st.sampled_from(["base_relative", "absolute"]),
        }
    ),
    head_form=st.sampled_from(["multiplier", "rescaled"]),
    alpha=st.floats(0.5, 1),
)
def test_at_the_base_width_and_depth_only_an_absolute_lr_differs_from_the_base_values(
    options: dict[str, object], head_form: HeadForm, alpha: float
) -> None:
    spec = OptimizerSpec(lr=0.3, weight_decay=0.7, adamw_lr_ratio=0.25, eps=1e-7, **options)  # type: ignore[arg-type]
    model = replace(BASE, base_depth=BASE.depth, head_form=head_form, depth_exponent=alpha)
    m_is_the_width = replace(model, width=BASE.width**2)
    for group in describe_groups(model, 50, spec):
        is_muon = group.optimizer == "muon"
        lr = 0.3 if is_muon or spec.name == "adamw" else 0.3 * 0.25
        if spec.lr_convention == "absolute":
            relative = replace(spec, lr_convention="base_relative")
            lr *= mup.factors(m_is_the_width, relative, group.role, group.optimizer).lr
        assert group.scaled_lr == lr
        assert group.weight_decay == (0.0 if group.role is Role.VECTOR else 0.7)
        assert group.eps == (None if is_muon else 1e-7)
        assert group.multiplier == 1.0


def test_no_rule_scales_an_initial_value_that_is_zero() -> None:
    zero = {role for role in Role if initial_values.base_init_std(WIDE, role, 128, False) == 0}
    assert zero == {Role.READOUT, Role.VECTOR}
    assert {rule.init_std for (_, role, _), rule in mup.TABLE.items() if role in zero} == {0.0}
    # for a user's head, which need not start at zero
    assert mup.RESCALED_HEAD.init_std == mup.RESCALED_HEAD.lr == -1.0


def test_the_table_covers_every_group_that_can_arise() -> None:
    pairs = {(role, "adamw") for role in Role} | {(Role.HIDDEN, "muon")}
    assert set(mup.TABLE) == {
        (parametrisation, role, optimizer)
        for parametrisation in get_args(Parametrisation)
        for role, optimizer in pairs
    }


# parametrisation, role, optimizer: factors of init std, lr, weight decay, eps, forward multiplier
# at m = 4
AT_FOUR_TIMES_THE_WIDTH = {
    ("mup", Role.EMBEDDING, "adamw"): (1, 1, 1, 1, 1),
    ("mup", Role.HIDDEN, "adamw"): (1 / 2, 1 / 4, 4, 1 / 4, 1),
    ("mup", Role.HIDDEN, "muon"): (1 / 2, 1, 1, 1, 1),
    ("mup", Role.READOUT, "adamw"): (1, 1, 1, 1, 1 / 4),
    ("mup", Role.VECTOR, "adamw"): (1, 1, 1, 1, 1),
    ("mup-paper", Role.EMBEDDING, "adamw"): (1 / 2, 1 / 2, 1, 1, 2),
    ("mup-paper", Role.HIDDEN, "adamw"): (1 / 2, 1 / 4, 1, 1, 1),
    # with the lr rule of its default update scale
    ("mup-paper", Role.HIDDEN, "muon"): (1 / 2, 1 / 4, 1, 1, 1),
    ("mup-paper", Role.READOUT, "adamw"): (1, 1 / 2, 1, 1, 1 / 2),
    ("mup-paper", Role.VECTOR, "adamw"): (1, 1, 1, 1, 1),
    ("standard", Role.EMBEDDING, "adamw"): (1, 1, 1, 1, 1),
    ("standard", Role.HIDDEN, "adamw"): (1 / 2, 1, 1, 1, 1),
    ("standard", Role.HIDDEN, "muon"): (1 / 2, 1, 1, 1, 1),
    ("standard", Role.READOUT, "adamw"): (1, 1, 1, 1, 1),
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


def test_each_parametrisation_has_its_own_default_update_scale() -> None:
    rms_match = 0.2 * 512**0.5
    for parametrisation, expected in (
        ("mup", 0.5),
        ("mup-paper", rms_match),
        ("standard", rms_match),
    ):
        spec = replace(MUON, parametrisation=parametrisation)
        assert mup.update_scale(spec, 128, 512) == pytest.approx(expected)
        assert mup.update_scale(replace(spec, update_scale="none"), 128, 512) == 1.0


def test_forward_multipliers_are_applied_to_the_embedding_and_to_the_head() -> None:
    narrow = replace(WIDE, base_width=128)
    tokens = torch.arange(12).reshape(1, 12)
    for parametrisation, embedding, head in (("mup", 1.0, 1 / 4), ("mup-paper", 2.0, 1 / 2)):
        model = Transformer(WIDE, 100, 16, parametrisation)  # type: ignore[arg-type]
        reference = Transformer(narrow, 100, 16, parametrisation)  # type: ignore[arg-type]
        torch.nn.init.normal_(model.head.weight)  # type: ignore[union-attr]
        reference.load_state_dict(model.state_dict())
        with torch.no_grad():
            reference.embedding.weight *= embedding
            reference.head.weight *= head  # type: ignore[union-attr]
        torch.testing.assert_close(model(tokens), reference(tokens))


def effective(
    spec: OptimizerSpec, model: ModelSpec, role: Role
) -> tuple[float, float, float | None, float]:
    """Scaled lr, decay, eps and multiplier of a role."""
    group = next(group for group in describe_groups(model, 100, spec) if group.role is role)
    return group.scaled_lr, group.weight_decay, group.eps, group.multiplier


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


def test_standard_scales_only_the_initial_values() -> None:
    spec = replace(ADAMW, parametrisation="standard")
    for role in (Role.EMBEDDING, Role.HIDDEN, Role.READOUT):
        assert effective(spec, WIDE, role) == (0.5, 0.25, 1e-8, 1.0)


def test_hidden_matrices_start_at_one_over_root_fan_in_at_every_width() -> None:
    for spec in (BASE, WIDE):
        groups = describe_groups(spec, 100, ADAMW)
        stds = {group.init_std for group in groups if group.role is Role.HIDDEN}
        width, residual = spec.width, 0.5  # depth 2: 1/sqrt(2 x 2)
        expected = {width**-0.5, width**-0.5 * residual, (4 * width) ** -0.5 * residual}
        assert sorted(stds) == pytest.approx(sorted(expected))


@pytest.mark.parametrize(
    ("parametrisation", "exponent"), [("mup", 0.0), ("mup-paper", 0.5), ("standard", 0.5)]
)
def test_the_shared_rotary_key_begins_at_the_spectral_condition_under_mup(
    parametrisation: Parametrisation, exponent: float
) -> None:
    spec, norms = replace(ADAMW, parametrisation=parametrisation), list[float]()
    for width in (64, 1024):
        model_spec = ModelSpec(width=width, base_width=64, depth=1, attention="mla")
        model = Transformer(model_spec, 20, 8, parametrisation)
        initialise(model, spec, seed=0)
        matrix = model.get_parameter("blocks.0.attention.key_rotary.weight").detach()
        condition = math.sqrt(matrix.shape[0] / matrix.shape[1])
        norms.append(float(torch.linalg.matrix_norm(matrix, 2)) / condition)
    assert math.log2(norms[1] / norms[0]) / 4 == pytest.approx(exponent, abs=0.12)


def test_a_tied_head_takes_its_multiplier_and_no_group_of_its_own() -> None:
    tied = replace(WIDE, tied_embeddings=True)
    model = Transformer(tied, 100, 16, "mup")
    assert model.head_multiplier == pytest.approx(32**-0.5 / 4)
    assert Role.READOUT not in model.parameter_roles().values()


# Muon: the lr rule follows from the update scale

# factor of Muon's lr at m = 4 without an explicit rule
OWN_LR_AT_FOUR_TIMES_THE_WIDTH = {
    "mup": {"spectral_ratio": 1, "spectral_clamped": 1, "none": 1, "rms_match": 1 / 2},
    "mup-paper": {"spectral_ratio": 1, "spectral_clamped": 1, "none": 1, "rms_match": 1 / 4},
    "standard": {"spectral_ratio": 1, "spectral_clamped": 1, "none": 1, "rms_match": 1},
}
LR_AT_FOUR_TIMES_THE_WIDTH = {"constant": 1, "inverse_sqrt": 1 / 2, "inverse": 1 / 4}


@pytest.mark.parametrize("parametrisation", get_args(Parametrisation))
@pytest.mark.parametrize("scale", get_args(UpdateScale))
def test_muons_lr_follows_the_rule_of_its_update_scale_or_the_rule_in_the_options(
    parametrisation: str, scale: UpdateScale
) -> None:
    spec = replace(MUON, parametrisation=parametrisation, update_scale=scale)
    own_factor = OWN_LR_AT_FOUR_TIMES_THE_WIDTH[parametrisation][scale]
    assert effective(spec, WIDE, Role.HIDDEN)[0] == 0.5 * own_factor
    for rule, factor in LR_AT_FOUR_TIMES_THE_WIDTH.items():
        with_rule = replace(spec, muon_lr_rule=rule)
        assert effective(with_rule, WIDE, Role.HIDDEN)[0] == 0.5 * factor
        for role in (Role.EMBEDDING, Role.READOUT, Role.VECTOR):
            lr, lr_with_rule = (
                effective(optimizer, WIDE, role)[0] for optimizer in (spec, with_rule)
            )
            assert lr == lr_with_rule, "Muon's rule does not affect AdamW's groups"


WIDTHS = (32, 64, 128, 256)


def spectral_norm_of_a_step(spec: OptimizerSpec, width: int, aspect: float) -> float:
    """Largest singular value of one step of Muon on a (aspect x width, width) matrix, over
    sqrt(fan_out / fan_in) and the base lr."""
    matrix = torch.nn.Parameter(torch.zeros(round(aspect * width), width))
    matrix.grad = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(width))
    scaled_lr = effective(spec, ModelSpec(width=width, base_width=32), Role.HIDDEN)[0]
    Muon([matrix], spec, scaled_lr, 0.0).step()
    return float(torch.linalg.matrix_norm(matrix.detach(), 2)) / math.sqrt(aspect) / spec.lr


# the exponent of m in this norm, by theory
SPECTRAL_EXPONENT = {
    ("rms_match", "constant"): 0.5,
    ("rms_match", "inverse_sqrt"): 0.0,
    ("rms_match", "inverse"): -0.5,
    **{(scale, "constant"): 0.0 for scale in ("spectral_ratio", "spectral_clamped", "none")},
    **{(scale, "inverse_sqrt"): -0.5 for scale in ("spectral_ratio", "spectral_clamped", "none")},
    **{(scale, "inverse"): -1.0 for scale in ("spectral_ratio", "spectral_clamped", "none")},
}


@pytest.mark.parametrize(("scale", "rule"), SPECTRAL_EXPONENT)
def test_a_steps_spectral_norm_scales_with_width_as_theory_predicts(
    scale: UpdateScale, rule: MuonLrRule
) -> None:
    spec = replace(MUON, update_scale=scale, muon_lr_rule=rule)
    expected = SPECTRAL_EXPONENT[scale, rule]
    assert mup.spectral_exponent(spec) == expected
    for aspect in (4.0, 1.0, 0.25):
        norms = [spectral_norm_of_a_step(spec, width, aspect) for width in WIDTHS]
        corrected = [
            norm / (width / 32) ** expected for norm, width in zip(norms, WIDTHS, strict=True)
        ]
        # the upper band of five Newton-Schulz steps
        assert max(corrected) / min(corrected) < 1.202 / 0.95
        slope = math.log2(norms[-1] / norms[0]) / 3
        assert slope == pytest.approx(expected, abs=0.1)


def test_mups_own_rule_of_an_update_scale_cancels_its_growth() -> None:
    for scale in get_args(UpdateScale):
        spec = replace(MUON, update_scale=scale)
        assert mup.spectral_exponent(spec) == 0
        assert mup.spectral_exponent(replace(spec, muon_lr_rule=mup.SPECTRAL_LR_RULE[scale])) == 0
    assert mup.spectral_exponent(replace(MUON, parametrisation="mup-paper")) == -0.5
    assert mup.spectral_exponent(replace(MUON, parametrisation="standard")) == 0.5


# Weight decay

# (parametrisation, optimizer, update scale): factors on the weight decay of hidden matrices at
# m = 4, by rule
DECAY_AT_FOUR_TIMES_THE_WIDTH: dict[tuple[str, str, str | None], dict[str | None, float]] = {
    ("mup", "adamw", None): {
        None: 4,
        "fixed_tokens": 4,
        "compute_optimal": 1,
        "sqrt_width": 2,
        "constant": 1,
    },
    ("mup", "muon", None): {
        None: 1,
        "fixed_tokens": 1,
        "compute_optimal": 1 / 4,
        "sqrt_width": 1,
        "constant": 1,
    },
    ("mup", "muon", "rms_match"): {
        None: 2,
        "fixed_tokens": 2,
        "compute_optimal": 1 / 2,
        "sqrt_width": 2,
        "constant": 1,
    },
    ("mup-paper", "adamw", None): {
        None: 1,
        "fixed_tokens": 4,
        "compute_optimal": 1,
        "sqrt_width": 2,
        "constant": 1,
    },
    ("mup-paper", "muon", None): {
        None: 1,
        "fixed_tokens": 4,
        "compute_optimal": 1,
        "sqrt_width": 4,
        "constant": 1,
    },
    ("standard", "adamw", None): {
        None: 1,
        "fixed_tokens": 1,
        "compute_optimal": 1,
        "sqrt_width": 1,
        "constant": 1,
    },
    ("standard", "muon", None): {
        None: 1,
        "fixed_tokens": 1,
        "compute_optimal": 1 / 4,
        "sqrt_width": 1,
        "constant": 1,
    },
}


@pytest.mark.parametrize(("options", "by_rule"), DECAY_AT_FOUR_TIMES_THE_WIDTH.items())
def test_weight_decay_has_its_hand_computed_factors_under_every_rule(
    options: tuple[str, str, str | None], by_rule: dict[str | None, float]
) -> None:
    parametrisation, name, scale = options
    base = replace(MUON, name=name, parametrisation=parametrisation, update_scale=scale)
    for rule, factor in by_rule.items():
        spec = replace(base, weight_decay_rule=rule)
        assert effective(spec, WIDE, Role.HIDDEN)[1] == pytest.approx(0.25 * factor)
        assert effective(spec, WIDE, Role.VECTOR)[1] == 0.0
        if parametrisation == "mup":
            assert effective(spec, WIDE, Role.EMBEDDING)[1] == 0.25
            assert effective(spec, WIDE, Role.READOUT)[1] == 0.25


# (optimizer, rule): exponent of m in the share that a step of pure decay takes off a hidden weight,
# under mup
SHRINKAGE = {
    ("adamw", "fixed_tokens"): 0.0,
    ("adamw", "compute_optimal"): -1.0,
    ("adamw", "sqrt_width"): -0.5,
    ("adamw", "constant"): -1.0,
    ("muon", "fixed_tokens"): 0.0,
    ("muon", "compute_optimal"): -1.0,
    ("muon", "sqrt_width"): 0.0,
    ("muon", "constant"): 0.0,
}


@pytest.mark.parametrize(("name", "rule"), SHRINKAGE)
def test_what_a_step_of_pure_decay_takes_off_a_weight_scales_with_width_as_its_rule_says(
    name: str, rule: WeightDecayRule
) -> None:
    spec = replace(MUON, name=name, lr=2.0**-4, weight_decay=2.0**-3, weight_decay_rule=rule)
    assert mup.decay_product_exponent(spec) == SHRINKAGE[name, rule]  # type: ignore[index]
    for width in (32, 128):
        model = Transformer(ModelSpec(width=width, base_width=32, depth=1), 20, 8, "mup")
        for parameter in model.parameters():
            torch.nn.init.ones_(parameter)
            parameter.grad = torch.zeros_like(parameter)
        build_optimizer(model, spec).step(1.0)
        shrinkage = 1 - float(model.blocks[0].attention.query.weight[0, 0].detach())
        expected = 2.0**-7 * (width / 32) ** SHRINKAGE[name, rule]
        assert shrinkage == pytest.approx(expected, rel=1e-4)


# The head's two forms


def test_a_rescaled_head_has_smaller_steps_instead_of_a_multiplier() -> None:
    rescaled = replace(WIDE, head_form="rescaled")
    assert effective(ADAMW, rescaled, Role.READOUT) == (0.5 / 4, 0.25 * 4, 1e-8, 1.0)
    assert effective(MUON, rescaled, Role.READOUT) == (0.25 / 4, 0.25 * 4, 1e-8, 1.0)
    for role in (Role.EMBEDDING, Role.HIDDEN, Role.VECTOR):
        assert effective(ADAMW, rescaled, role) == effective(ADAMW, WIDE, role)


def test_both_forms_of_the_head_move_the_logits_equally_in_one_step() -> None:
    changes = []
    for form in ("multiplier", "rescaled"):
        spec = replace(ADAMW, lr=1e-3, eps=1e-20)
        model = Transformer(replace(WIDE, depth=1, head_form=form), 20, 8, "mup")  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(0)
        for name, parameter in model.named_parameters():
            parameter.data = (
                torch.zeros_like(parameter)
                if name == "head.weight"
                else torch.randn(parameter.shape, generator=generator)
            )
        tokens = torch.arange(8).reshape(1, 8)
        torch.nn.functional.cross_entropy(model(tokens)[0], tokens[0]).backward()
        build_optimizer(model, spec).step(1.0)
        changes.append(float(model(tokens).detach().square().mean().sqrt()))
    assert changes[0] == pytest.approx(changes[1], rel=1e-3)
    assert changes[0] > 0


def test_tied_embeddings_refuse_a_rescaled_head() -> None:
    with pytest.raises(ValueError, match="the head has no learning rate"):
        ModelSpec(width=32, base_width=32, tied_embeddings=True, head_form="rescaled")
