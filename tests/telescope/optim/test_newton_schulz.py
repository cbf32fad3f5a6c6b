"""Muon against torch.optim.Muon, the singular value decomposition and hand-computed values."""

import time

import pytest
import torch
from torch import nn

from telescope.optim import newton_schulz
from telescope.optim.muon import ELEMENTS_AT_ONCE, Muon
from telescope.optim.newton_schulz import COEFFICIENTS, mixed_momentum, orthogonalize
from telescope.parametrisation import mup
from telescope.trials.optimizer import OptimizerSpec

SHAPES = [(64, 32), (32, 64), (48, 48)]


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_five_steps_map_a_diagonal_matrix_to_the_values_of_the_polynomial() -> None:
    matrix = torch.diag(torch.tensor([3.0, 4.0], dtype=torch.float64))
    expected = torch.tensor([0.722876168617, 1.119203929916], dtype=torch.float64)
    result = orthogonalize(matrix, dtype=torch.float64)
    torch.testing.assert_close(result, torch.diag(expected))


@pytest.mark.parametrize("shape", [(512, 128), (128, 512)])
def test_singular_values_land_in_the_band_and_singular_vectors_stay(shape: tuple[int, int]) -> None:
    x = gaussian(*shape).double()
    u, _, vh = torch.linalg.svd(x, full_matrices=False)
    result = orthogonalize(x, dtype=torch.float64)
    values = torch.diagonal(u.T @ result @ vh.T)
    assert 0.68 < values.min() <= values.max() < 1.21
    torch.testing.assert_close(u @ torch.diag(values) @ vh, result)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stack_is_orthogonalised_matrix_by_matrix(shape: tuple[int, int]) -> None:
    stack = gaussian(2, 3, *shape)
    expected = torch.stack(
        [torch.stack([orthogonalize(x, dtype=torch.float32) for x in row]) for row in stack]
    )
    result = orthogonalize(stack, dtype=torch.float32)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


def test_zero_and_tiny_gradients_stay_finite() -> None:
    assert torch.equal(orthogonalize(torch.zeros(8, 4)), torch.zeros(8, 4, dtype=torch.bfloat16))
    assert torch.isfinite(orthogonalize(gaussian(8, 4) * 1e-12)).all()


@pytest.mark.parametrize("nesterov", [True, False])
def test_the_momentum_is_the_average_of_gradients_and_gradients_are_only_read(
    nesterov: bool,
) -> None:
    gradient, buffer = gaussian(8, 4), gaussian(8, 4, seed=1)
    before = gradient.clone(), buffer.clone()
    mixed = mixed_momentum(gradient, buffer, nesterov=nesterov)
    assert torch.equal(gradient, before[0])
    torch.testing.assert_close(buffer, 0.95 * before[1] + 0.05 * before[0])
    torch.testing.assert_close(mixed, 0.05 * gradient + 0.95 * buffer if nesterov else buffer)


@pytest.mark.parametrize("elements", [1, 2 * 32 * 64, 2**19])
def test_the_number_of_matrices_orthogonalised_together_changes_no_bit(
    elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def after_three_steps(at_once: int) -> list[torch.Tensor]:
        monkeypatch.setitem(ELEMENTS_AT_ONCE, "cpu", at_once)
        shapes = [(64, 32), (32, 64), (64, 32), (64, 32), (32, 64)]  # tall and wide
        matrices = [nn.Parameter(gaussian(*shape, seed=seed)) for seed, shape in enumerate(shapes)]
        optimizer = Muon(matrices, OptimizerSpec(name="muon", lr=0.02, weight_decay=0.1), 0.02, 0.1)
        for step in range(3):
            for index, matrix in enumerate(matrices):
                matrix.grad = gaussian(*matrix.shape, seed=100 + 10 * step + index)
            optimizer.step()
        return [matrix.detach() for matrix in matrices]

    pairs = zip(after_three_steps(elements), after_three_steps(2**28), strict=True)
    assert all(torch.equal(matrix, expected) for matrix, expected in pairs)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("spectral_clamped", "original"), ("rms_match", "match_rms_adamw")]
)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("same_products")
def test_steps_match_torch_optim_muon_to_rounding(
    ours: mup.UpdateScale, theirs: str, shape: tuple[int, int]
) -> None:
    spec = OptimizerSpec(name="muon", lr=0.02, weight_decay=0.1, update_scale=ours)
    # two matrices of one shape, so that our Muon runs them as one stack
    start = [gaussian(*shape, seed=seed) for seed in (0, 1)]
    matrices, references = ([nn.Parameter(x.clone()) for x in start] for _ in range(2))
    optimizers = (
        Muon(matrices, spec, 0.02, 0.1),
        torch.optim.Muon(references, lr=0.02, weight_decay=0.1, adjust_lr_fn=theirs),
    )
    for step in range(6):
        for index, (matrix, reference) in enumerate(zip(matrices, references, strict=True)):
            matrix.grad = gaussian(*shape, seed=100 + 10 * step + index)
            reference.grad = matrix.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for matrix, reference, before in zip(matrices, references, start, strict=True):
        torch.testing.assert_close(matrix, reference, rtol=1e-6, atol=1e-6)
        assert (matrix - before).abs().max() > 0.01  # the steps were not empty


def test_the_coefficients_are_those_of_torch() -> None:
    torch_muon = torch.optim.Muon([nn.Parameter(torch.eye(2))])
    assert torch_muon.defaults["ns_coefficients"] == COEFFICIENTS


def test_update_scales_have_their_documented_values() -> None:
    expected = {
        "spectral_ratio": (1.41421, 0.70711),
        "spectral_clamped": (1.41421, 1.0),
        "rms_match": (6.4, 6.4),
        "none": (1.0, 1.0),
    }
    for name, (tall, wide) in expected.items():
        scale = mup.UPDATE_SCALES[name]  # type: ignore[index]
        assert scale(1024, 512) == pytest.approx(tall, rel=1e-5)
        assert scale(512, 1024) == pytest.approx(wide, rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_cpus_without_bfloat16_products_round_float32_products(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for lacks in (True, False):
        monkeypatch.setattr(newton_schulz, "lacks_product", lambda _, lacks=lacks: lacks)
        results.append(orthogonalize(gaussian(*shape)))
    assert results[0].dtype == results[1].dtype == torch.bfloat16
    # some units in the last place of the largest entries, since the order of the sums differs
    torch.testing.assert_close(*results, rtol=0, atol=2**-7)


def test_bfloat16_costs_little_more_than_float32_on_every_cpu() -> None:
    stack = gaussian(4, 128, 128)

    def seconds(dtype: torch.dtype) -> float:
        began = time.process_time()
        orthogonalize(stack, dtype=dtype)
        return time.process_time() - began

    formats = (torch.bfloat16, torch.float32)
    bfloat16, float32 = (min(seconds(dtype) for _ in range(5)) for dtype in formats)
    assert bfloat16 < 4 * float32  # torch's reference product takes 12 times as long
