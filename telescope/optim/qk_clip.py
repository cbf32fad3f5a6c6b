"""QK-clip, which keeps attention logits from exploding.

Muon and QK-clip together are called MuonClip (Kimi K2, arXiv 2507.20534). Under Muon, the query and
key weights of a few heads may grow until the attention logits of these heads are in the thousands.
So after each optimizer step, QK-clip looks at the largest logit S of each head in that step. If S
is above a threshold tau, QK-clip multiplies the query and key rows of the head by powers of gamma =
tau / S, so that the head's logits are multiplied by gamma. The option `qk_clip_alpha`, called alpha
here, divides the change between query and key:

| attention     | rows that are multiplied, and the factor                                      |
|---------------|-------------------------------------------------------------------------------|
| multi-head    | for each head: query rows by gamma^alpha, key rows by gamma^(1 - alpha)       |
| grouped-query | for each group of heads that share a key: as in multi-head attention, but S   |
|               | is the largest logit in the group (Megatron's rule, docs/adr/0018)            |
| latent (mla)  | for each head: rows without rotary positions as in multi-head attention;      |
|               | rotary query rows by gamma; the rotary key, which all heads share, not at all |

- S is the largest logit (not the largest absolute value) over all sequences, positions and
  micro-batches of a step. It is measured after the rotation by position and before the softmax.
  Only forward passes of training count. S is measured anew in every step.
- A head is clipped only if S is finite and above tau. If S is not finite, the weights stay
  unchanged; the loss is then not finite either, and the trial ends.
- The weights of all other heads are multiplied by exactly one, so they stay the same, bit for bit.
- Rotation is linear, and the projections have no biases. So on the same inputs, the logits of a
  clipped head are gamma times as large as before.
- QK-clip changes the float32 weights that the optimizer updates, but not the optimizer's momenta.
  The step with the large logits is not undone: logits are smaller from the next step on.
- QK-clip has no effect on attention with QK-norm, which normalises queries and keys.
  telescope.trials.optimizer refuses the combination.

All measurements stay on the device. Training waits for them only when it records a point of the
trial's curve. A point holds the metrics of the steps since the previous point.
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
"""For each kind of attention, the projections that are clipped, and the exponent of gamma for each,
as a function of alpha. `heads` is multi-head or grouped-query attention. The exponents of a query
and of the key with which it is multiplied sum to 1."""


def clip_factors(max_logits: Float[Tensor, "*groups"], tau: float) -> Float[Tensor, "*groups"]:
    """The factor gamma of each head or group of heads, from its largest logit S: tau / S if S is
    finite and above tau, otherwise exactly one."""
    exceeding = (max_logits > tau) & max_logits.isfinite()
    return torch.where(exceeding, tau / max_logits, 1.0)


@torch.no_grad()
def shrink(weight: Float[Tensor, "rows in"], factors: Float[Tensor, "groups"]) -> None:
    """Multiply the rows of each group by the group's factor. The rows of a group are consecutive,
    and all groups have the same number of rows."""
    weight.view(len(factors), -1, weight.shape[1]).mul_(factors[:, None, None])


class LogitMonitor:
    """Observes the attention logits of a model in training, and clips heads if the options set a
    threshold. Collects the metrics of logits and clipping for the next point of the curve."""

    def __init__(self, layers: Sequence[Scores], options: OptimizerOptions) -> None:
        self.layers = layers
        self.device = next(layers[0].parameters()).device
        self.tau, self.alpha = options.qk_clip, options.qk_clip_alpha
        self.begin_interval()

    def begin_interval(self) -> None:
        """Reset the metrics, so that the next point of the curve covers only the steps from here
        on."""
        self.largest = torch.full((), -math.inf, device=self.device)
        # (layers, groups): 1 for each group of heads that was clipped since the reset, otherwise
        # 0. A single 0 until the first call of `clip` after the reset.
        self.clipped = torch.zeros((), device=self.device)

    def begin_step(self) -> None:
        """Observe the logits of all forward passes until `end_step` is called."""
        for layer in self.layers:
            layer.largest = torch.full((layer.spec.heads,), -math.inf, device=self.device)

    @torch.no_grad()
    def end_step(self) -> None:
        """Stop observing, and clip heads if the options set a threshold. Call this after the
        optimizer's step."""
        largest = []
        for layer in self.layers:
            assert layer.largest is not None, "end_step was called without begin_step"
            largest.append(layer.largest)
            layer.largest = None
        logits = torch.stack(largest)  # (layers, H)
        self.largest = torch.maximum(self.largest, logits.amax())
        if self.tau is not None:
            self.clip(logits, self.tau)

    def clip(self, logits: Float[Tensor, "layers H"], tau: float) -> None:
        """Shrink the projections of each group of heads by the group's factor. With grouped-query
        attention, the heads that share a key form a group. Otherwise, each head is a group by
        itself. `logits` holds the largest logit of each head in this step."""
        kv_heads = self.layers[0].spec.kv_heads
        group_logits = logits.view(len(logits), kv_heads, -1).amax(dim=2)  # (layers, groups)
        factors = clip_factors(group_logits, tau)
        for layer, gamma in zip(self.layers, factors, strict=True):
            for name, exponent in EXPONENTS[layer.spec.attention].items():
                shrink(layer.get_parameter(f"{name}.weight"), gamma ** exponent(self.alpha))
        self.clipped = torch.maximum(self.clipped, (factors < 1).float())

    def metrics(self) -> dict[str, float]:
        """The largest logit since the last reset. If the options set a threshold, also the number
        of heads that were clipped at least once since the last reset."""
        metrics = {"max_logit": float(self.largest)}
        if self.tau is not None:
            heads_per_group = self.layers[0].spec.query_heads_per_kv
            metrics["clipped_heads"] = float(self.clipped.sum()) * heads_per_group
        return metrics
