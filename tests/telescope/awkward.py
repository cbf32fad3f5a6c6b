"""Models whose roles are hard to read, each a factory `width -> torch.nn.Module` that takes tokens
and returns logits.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

VOCABULARY = 64  # equal to the narrowest width, where all matrices are square


class Body(nn.Module):
    """An embedding, a middle that keeps (B, T, D), and a head."""

    def __init__(self, width: int, middle: nn.Module, vocabulary: int = VOCABULARY) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        self.middle = middle
        self.out = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.out(self.middle(self.table(tokens)))
        return logits


def plain(width: int) -> nn.Module:
    return Body(width, nn.Linear(width, width))


def tied(width: int) -> nn.Module:
    model = Body(width, nn.Linear(width, 4 * width))
    model.middle = nn.Sequential(
        nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
    )
    model.out.weight = model.table.weight
    return model


class TiedByHand(Body):
    """A head that multiplies by the table without a module of its own."""

    def forward(self, tokens: Tensor) -> Tensor:
        return functional.linear(self.middle(self.table(tokens)), self.table.weight)


def tied_by_hand(width: int) -> nn.Module:
    model = TiedByHand(width, nn.Linear(width, width))
    del model.out
    return model


class Transposed(nn.Module):
    """A matrix that is stored as (fan_in, fan_out), as in GPT-2's published code."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_in, fan_out) * 0.02)
        self.bias = nn.Parameter(torch.zeros(fan_out))

    def forward(self, x: Tensor) -> Tensor:
        product = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return product.view(*x.shape[:-1], -1)


def transposed(width: int) -> nn.Module:
    return Body(width, nn.Sequential(Transposed(width, 3 * width), Transposed(3 * width, width)))


class Fused(nn.Module):
    """Query, key and value in one matrix; keys and values have a quarter of the heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.small = width, width // 4
        self.qkv = nn.Linear(width, width + 2 * self.small, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).split([self.width, self.small, self.small], dim=-1)
        q, k, v = (y.unflatten(-1, (-1, 8)).transpose(1, 2) for y in (q, k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        result: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return result


def fused(width: int) -> nn.Module:
    return Body(width, Fused(width))


class Experts(nn.Module):
    """A stack of experts, which all receive every token, and the router that weighs them."""

    def __init__(self, width: int, by_einsum: bool) -> None:
        super().__init__()
        self.by_einsum = by_einsum
        self.router = nn.Linear(width, 4, bias=False)
        self.up = nn.Parameter(torch.randn(4, width, 2 * width) * 0.1)
        self.down = nn.Parameter(torch.randn(4, 2 * width, width) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        shares = self.router(x).softmax(-1)
        if self.by_einsum:
            hidden = functional.silu(torch.einsum("btd,edf->btef", x, self.up))
            return torch.einsum("btef,efd,bte->btd", hidden, self.down, shares)
        flat = x.flatten(0, 1)[None].expand(4, -1, -1)  # (E, B T, D)
        outputs = torch.bmm(functional.silu(torch.bmm(flat, self.up)), self.down)
        return torch.einsum("end,ne->nd", outputs, shares.flatten(0, 1)).view_as(x)


def experts(width: int) -> nn.Module:
    return Body(width, Experts(width, by_einsum=False))


def experts_by_einsum(width: int) -> nn.Module:
    return Body(width, Experts(width, by_einsum=True))


class RoutedExperts(nn.Module):
    """Experts as modules; each token goes to one of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, 2, bias=False)
        self.experts = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.router(x).softmax(-1)
        best = weights.argmax(-1)
        result = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            routed = best == i
            result[routed] = expert(x[routed]) * weights[..., i][routed][:, None]
        return x + result


def routed_experts(width: int) -> nn.Module:
    return Body(width, RoutedExperts(width))


class Convolved(nn.Module):
    """A convolution over positions and channels, and a depthwise convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mixing = nn.Conv1d(width, width, 3, padding=2)
        self.depthwise = nn.Conv1d(width, width, 3, padding=2, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mixing(x.mT)[..., : x.shape[1]]
        return self.depthwise(y)[..., : x.shape[1]].mT


def convolved(width: int) -> nn.Module:
    return Body(width, Convolved(width))


class Positioned(nn.Module):
    """Positions as a parameter that is added, a norm, a gain of three dimensions, and a scalar."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(32, width))
        self.norm = nn.LayerNorm(width)
        self.gain = nn.Parameter(torch.ones(1, 1, width))
        self.scalar = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(x + self.positions[: x.shape[1]]) * self.gain * self.scalar
        return result


def positioned(width: int) -> nn.Module:
    return Body(width, Positioned(width))


class PerHead(nn.Module):
    """A projection that is stored by head: (heads, head size, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(width // 8, 8, width) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.einsum("btd,hkd->bthk", x, self.query).flatten(2)


def per_head(width: int) -> nn.Module:
    return Body(width, PerHead(width))


class Cast(nn.Module):
    """A weight that is cast to another dtype before it is used."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, 2 * width) * 0.1)
        self.back = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        product = x.double() @ self.weight.double().contiguous()
        result: Tensor = self.back(product.float())
        return result


def cast(width: int) -> nn.Module:
    return Body(width, Cast(width))


class OwnLoss(Body):
    """A model that returns its loss."""

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:  # type: ignore[override]
        return functional.cross_entropy(super().forward(tokens).flatten(0, 1), targets.flatten())


def own_loss(width: int) -> nn.Module:
    return OwnLoss(width, nn.Linear(width, width))


class SharedGate(nn.Module):
    """A gate of one number per token, and a router with fewer rows than the head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, 4, bias=False)
        self.gate = nn.Linear(width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, weights = self.gate(x).sigmoid(), self.router(x).softmax(-1)
        result: Tensor = x * gate * weights.amax(-1, keepdim=True)
        return result


def shared_gate(width: int) -> nn.Module:
    return Body(width, SharedGate(width))


# Models that are refused


def more_layers(width: int) -> nn.Module:
    return Body(width, nn.Sequential(*[nn.Linear(width, width) for _ in range(width // 32)]))


def growing_vocabulary(width: int) -> nn.Module:
    return Body(width, nn.Linear(width, width), vocabulary=2 * width)


def unused(width: int) -> nn.Module:
    model = Body(width, nn.Linear(width, width))
    model.spare = nn.Linear(width, width)
    return model


class Bottleneck(nn.Module):
    """A matrix between two sizes that are the same at every width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(width, 8)
        self.inside = nn.Linear(8, 8)
        self.wide = nn.Linear(8, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.wide(self.inside(self.narrow(x)))
        return result


def bottleneck(width: int) -> nn.Module:
    return Body(width, Bottleneck(width))


class BothWays(nn.Module):
    """A matrix that is used together with its transpose."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x @ self.weight) @ self.weight.mT


def both_ways(width: int) -> nn.Module:
    return Body(width, BothWays(width))


class Gated(nn.Module):
    """A matrix that another matrix is multiplied by elementwise."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, width))
        self.mixing = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.mixing.weight * self.weight, self.mixing.bias)


def gated(width: int) -> nn.Module:
    return Body(width, Gated(width))


class MoreExperts(nn.Module):
    """A stack of experts whose number grows with width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.randn(width // 16, width, width) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)[None].expand(self.up.shape[0], -1, -1)
        return torch.bmm(flat, self.up).mean(0).view_as(x)


def more_experts(width: int) -> nn.Module:
    return Body(width, MoreExperts(width))


def no_module(width: int) -> object:
    return [width]


def raises(width: int) -> nn.Module:
    raise KeyError("no such width")
