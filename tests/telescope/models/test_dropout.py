"""Dropout: its law, its generators, and the masks of a pack's members."""

import pytest
import torch
from torch import nn

from telescope.models.dropout import Dropout, seed_dropout, share_generators
from telescope.models.transformer import Transformer, initialise
from telescope.train import pack
from telescope.trials.model import ModelSpec
from tests.telescope.small import ADAMW

CPU = torch.device("cpu")


def masked(seed: int, x: torch.Tensor, share: float = 0.25) -> torch.Tensor:
    """x after dropout with a new generator."""
    dropout = Dropout(share)
    seed_dropout(dropout, seed, CPU)
    result: torch.Tensor = dropout(x)
    return result


def test_a_share_of_the_entries_is_zero_and_the_others_keep_the_mean() -> None:
    x = masked(0, torch.ones(400, 500))
    assert x.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert float((x == 0).float().mean()) == pytest.approx(0.25, abs=0.005)
    assert float(x.mean()) == pytest.approx(1, abs=0.007)


def test_masks_depend_on_the_seed_and_not_on_torchs_global_generator() -> None:
    x = torch.ones(8, 8)
    state = torch.get_rng_state()
    first = masked(1, x)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    assert torch.equal(masked(1, x), first)
    assert not torch.equal(masked(2, x), first)
    torch.set_rng_state(state)


def test_gradients_are_those_of_the_mask() -> None:
    x = torch.ones(6, 5, requires_grad=True)
    y = masked(3, x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, y.detach())


def test_evaluation_returns_the_input() -> None:
    dropout = Dropout(0.5).eval()
    x = torch.ones(3)
    assert dropout(x) is x


def test_two_layers_of_a_model_draw_different_masks_from_one_generator() -> None:
    layers = nn.ModuleList([Dropout(0.5), Dropout(0.5)])
    seed_dropout(layers, 0, CPU)
    x = torch.ones(1, 64)
    assert not torch.equal(layers[0](x), layers[1](x))


def test_the_part_of_a_member_has_the_mask_that_the_member_draws_alone() -> None:
    members = [Dropout(0.5) for _ in range(3)]
    for seed, member in enumerate(members):
        seed_dropout(member, seed, CPU)
    share_generators(members)
    together = members[0](torch.ones(3 * 4, 16))
    separate = [masked(seed, torch.ones(4, 16), share=0.5) for seed in range(3)]
    assert torch.equal(together, torch.cat(separate))


SPEC = ModelSpec(width=16, base_width=16, depth=2, head_dim=8, mlp_ratio=2.0, dropout=0.4)


def models() -> list[Transformer]:
    """Three models, with the seeds of a step."""
    result = []
    for seed in range(3):
        model = Transformer(SPEC, 9, 4, "mup")
        initialise(model, ADAMW, seed)
        assert model.head is not None
        nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(seed))
        model.reseed(seed)
        result.append(model)
    return result


def test_losses_of_a_pack_with_dropout_are_those_of_its_members() -> None:
    rows = torch.randint(9, (3, 6, 5), generator=torch.Generator().manual_seed(0))
    losses = pack.answer_losses("softmax")
    together = losses(models(), rows)
    separate = [losses([model], own[None]) for model, own in zip(models(), rows, strict=True)]
    torch.testing.assert_close(together, torch.cat(separate))


def test_evaluation_of_a_model_drops_nothing_and_training_goes_on_afterwards() -> None:
    model, _, _ = models()
    tokens = torch.randint(9, (2, 4), generator=torch.Generator().manual_seed(0))
    with model.evaluating():
        first, second = model(tokens), model(tokens)
    assert torch.equal(first, second)
    assert not torch.equal(model(tokens), first)


def test_the_mask_of_a_step_is_repeated_if_the_step_is() -> None:
    model, _, _ = models()
    tokens = torch.randint(9, (2, 4), generator=torch.Generator().manual_seed(0))
    outputs = []
    for seed in (7, 8, 7):
        model.reseed(seed)
        outputs.append(model(tokens))
    assert torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], outputs[1])
