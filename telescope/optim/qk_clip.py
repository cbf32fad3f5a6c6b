"""QK-clip, which keeps attention logits from exploding.

Muon and QK-clip together are called MuonClip (Kimi K2, arXiv 2507.20534). Under Muon, the query and
key weights of a few heads grow until the logits of these heads are in the thousands. So after each
optimizer step, QK-clip looks at the largest logit S of each head in that step. If S is above a
threshold tau, the query and key rows of the head are multiplied by powers of gamma = tau / S, so
that the head's logits are multiplied by gamma:

| attention     | rows that are shrunk                                                          |
|---------------|-------------------------------------------------------------------------------|
| multi-head    | per head: query rows x gamma^alpha, key rows x gamma^(1 - alpha)              |
| grouped-query | per group of heads: as in multi-head, where S is the largest logit of all     |
|               | heads of the group (Megatron's rule, docs/adr/0018)                           |
| latent (mla)  | per head: as in multi-head for rows without rotation; rotary query rows x     |
|               | gamma; the rotary key stays the same, since all heads share it                |

- S is the largest signed logit over all windows, positions and micro-batches of a step, after
  rotation and before the softmax. Only forward passes of training count. S is reset at every step.
- A head is clipped only if S > tau; a negative S would give a negative factor. If S is not finite,
  the weights are left alone, since a loss that is not finite ends the trial.
- Rows of other heads are multiplied by exactly one: they stay the same, bit for bit. Rotation keeps
  lengths, and there are no biases, so the logits of a clipped head shrink by exactly gamma.
- QK-clip changes the float32 weights that the optimizer updates, and leaves the momenta alone. The
  step that triggered the clip is not undone: logits are smaller from the next step on.
- Under QK-norm the clip would have no effect; telescope.trials.spec refuses the combination.

All values stay on the device; training waits for them only when a point of the curve is recorded.

Parts: `EXPONENTS`, the rule of each kind of attention · `clip_factors` and `shrink`, operations on
tensors · `LogitMonitor`, which observes a model in training.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from telescope.models.attention import Scores
from telescope.shapes import Float
from telescope.trials.optimizer import OptimizerOptions
from telescope.trials.types import AttentionKind

EXPONENTS: Mapping[AttentionKind, Mapping[str, Callable[[float], float]]] = {
    "heads": {"query": lambda alpha: alpha, "key": lambda alpha: 1 - alpha},
    "mla": {
        "query": lambda alpha: alpha,
        "key": lambda alpha: 1 - alpha,
        "query_rotary": lambda alpha: 1.0,
    },
}
"""For each kind of attention, the projections whose rows are shrunk, and the exponent of gamma as
a function of alpha. In each product of a query and a key, the exponents sum to 1."""


def clip_factors(max_logits: Float[Tensor, "*groups"], tau: float) -> Float[Tensor, "*groups"]:
    """gamma of each head or group of heads: tau / S if S is finite and above tau, otherwise exactly
    one."""
    exceeding = (max_logits > tau) & max_logits.isfinite()
    return torch.where(exceeding, tau / max_logits, 1.0)


@torch.no_grad()
def shrink(weight: Float[Tensor, "rows in"], factors: Float[Tensor, "groups"]) -> None:
    """Multiply the rows of each group, which are consecutive, by the group's factor."""
    weight.view(len(factors), -1, weight.shape[1]).mul_(factors[:, None, None])


class LogitMonitor:
    """Observes the attention logits of a model in training, clips them if the options ask for it,
    and holds the metrics of logits and clipping for the next point of the curve."""

    def __init__(self, layers: Sequence[Scores], options: OptimizerOptions) -> None:
        self.layers = layers
        self.device = next(layers[0].parameters()).device
        self.tau, self.alpha = options.qk_clip, options.qk_clip_alpha
        self.begin_interval()

    def begin_interval(self) -> None:
        """Reset the metrics: the next point of the curve covers the steps to come."""
        self.largest = torch.full((), -math.inf, device=self.device)
        # 1 for each group of heads that was clipped; after the first step (layers, groups)
        self.clipped = torch.zeros((), device=self.device)

    def begin_step(self) -> None:
        """Observe all forward passes until `end_step`."""
        for layer in self.layers:
            layer.largest = torch.full((layer.spec.heads,), -math.inf, device=self.device)

    @torch.no_grad()
    def end_step(self) -> None:
        """Stop observing, and clip heads if the options ask for it; called after the optimizer's
        step."""
        largest = []
        for layer in self.layers:
            assert layer.largest is not None, "end_step without begin_step"
            largest.append(layer.largest)
            layer.largest = None
        logits = torch.stack(largest)  # (layers, H)
        self.largest = torch.maximum(self.largest, logits.amax())
        if self.tau is not None:
            self.clip(logits, self.tau)

    def clip(self, logits: Float[Tensor, "layers H"], tau: float) -> None:
        """Shrink the projections of each group of heads by the group's factor. Heads that share a
        key form a group; a head with a key of its own is a group of one. `logits` holds the largest
        logit of each head."""
        kv_heads = self.layers[0].spec.kv_heads
        group_logits = logits.view(len(logits), kv_heads, -1).amax(dim=2)  # (layers, groups)
        factors = clip_factors(group_logits, tau)
        for layer, gamma in zip(self.layers, factors, strict=True):
            for name, exponent in EXPONENTS[layer.spec.attention].items():
                shrink(layer.get_parameter(f"{name}.weight"), gamma ** exponent(self.alpha))
        self.clipped = torch.maximum(self.clipped, (factors < 1).float())

    def metrics(self) -> dict[str, float]:
        """The largest logit since the last point and, with a threshold, the number of heads that
        were clipped since then."""
        metrics = {"max_logit": float(self.largest)}
        if self.tau is not None:
            heads_per_group = self.layers[0].spec.query_heads_per_kv
            metrics["clipped_heads"] = float(self.clipped.sum()) * heads_per_group
        return metrics
