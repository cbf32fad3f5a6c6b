"""Operations counted by hand, and against torch's own counter."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from telescope import flops
from telescope.model import Transformer, initialise
from telescope.spec import ModelSpec, OptimizerSpec
from tests.telescope.small import ADAMW, trial


def test_newton_schulz_on_the_reference_shape() -> None:
    # one block of width 128 whose feed-forward has 512 units: 4 square, 3 of 128 x 512
    square, rectangular = 5 * 6 * 128**3, 188_743_680
    assert flops.newton_schulz_flops(ModelSpec(width=128, base_width=128, depth=1), 5) == 4 * square + 3 * rectangular


def test_training_flops_agree_with_what_torch_counts() -> None:
    spec = ModelSpec(width=64, base_width=64, depth=2, mlp="gelu", query_heads_per_kv=2)
    model = Transformer(spec, 100, 32, "mup")
    initialise(model, OptimizerSpec(name="adamw", lr=0.1, weight_decay=0.0), 0)
    torch.nn.init.normal_(model.head.weight)  # type: ignore[union-attr]
    tokens = torch.zeros(4, 32, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model(tokens).sum().backward()
    ours = 4 * 32 * flops.training_flops_per_token(spec, 100, 32)
    assert abs(counter.get_total_flops() / ours - 1) < 0.02


def test_a_muon_trial_costs_its_orthogonalisation_on_top_of_adamws() -> None:
    muon, adamw = trial(), trial(ADAMW)
    extra = muon.horizon.steps * flops.newton_schulz_flops(muon.model, 5)
    assert extra > 0
    assert flops.trial_flops(muon) == flops.trial_flops(adamw) + extra
