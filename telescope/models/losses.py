"""Losses on logits: the negative log-likelihood of softmax and of stablemax, and sparsemax's loss.

Attention uses softmax whichever loss is chosen. All three functions take logits of shape (N, V) and
return one loss per row, which is in nats for softmax and stablemax. Gradients come from autograd.
`sparsemax_loss` treats p as a constant; a comment in it explains why the gradient is exact
nevertheless.

    softmax    p_i = exp(z_i) / sum_j exp(z_j)                                loss -log p_y
    stablemax  p_i = s(z_i) / sum_j s(z_j), where s(z) = z + 1 for z >= 0     loss -log p_y
               and 1 / (1 - z) below (Prieto et al., arXiv 2501.04697),
               computed in float64
    sparsemax  p_i = max(z_i - tau, 0), with tau such that the p sum to 1     loss
               (Martins and Astudillo, arXiv 1602.02068)                      -z_y + 1/2 + sum of
                                                    (z_j^2 - tau^2) / 2 over the j with p_j > 0

Sparsemax gives probabilities of exactly 0, for which -log p_y would be infinite. Its loss is
therefore a function of its own, which is convex and has the gradient p - onehot(y).
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from telescope.shapes import Float, Int
from telescope.trials.types import SoftmaxName

Loss = Callable[[Tensor, Tensor], Tensor]


def softmax_loss(logits: Float[Tensor, "N V"], targets: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
    """Cross-entropy."""
    return functional.cross_entropy(logits, targets, reduction="none")


def stablemax_loss(logits: Float[Tensor, "N V"], targets: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
    """Negative log-likelihood under stablemax, in float64."""
    # The logarithm of s needs no division: log(1 + z) above 0, -log(1 - z) below.
    z = logits.double()
    magnitude = torch.log1p(z.abs())
    log_s = torch.where(z >= 0, magnitude, -magnitude)
    return functional.cross_entropy(log_s, targets, reduction="none")


def sparsemax_threshold(logits: Float[Tensor, "N V"]) -> Float[Tensor, "N 1"]:
    """tau: the threshold at which the sparsemax probabilities of a row sum to 1."""
    descending = logits.sort(dim=1, descending=True).values
    ranks = torch.arange(1, logits.shape[1] + 1, device=logits.device, dtype=logits.dtype)
    sums = descending.cumsum(dim=1)
    in_support = 1 + ranks * descending > sums  # true for the first K ranks
    support = in_support.sum(dim=1, keepdim=True)  # K
    return (sums.gather(1, support - 1) - 1) / support


def sparsemax_loss(logits: Float[Tensor, "N V"], targets: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
    """Sparsemax's convex loss; 0 if the target's logit exceeds all others by 1 or more."""
    # A constant added to all logits does not change the loss. After the row's largest logit is
    # subtracted, no difference of large numbers loses precision.
    z = logits - logits.detach().amax(dim=1, keepdim=True)
    # The sum in the loss is the maximum, over all distributions p, of the sum of z p - p^2 / 2. At
    # a maximum, changes of p have no effect to first order, so p needs no gradient.
    p = probabilities("sparsemax", z.detach())
    return -z.gather(1, targets[:, None]).squeeze(1) + (z * p - p.square() / 2).sum(dim=1) + 0.5


LOSSES: Mapping[SoftmaxName, Loss] = {
    "softmax": softmax_loss,
    "stablemax": stablemax_loss,
    "sparsemax": sparsemax_loss,
}


def probabilities(name: SoftmaxName, logits: Float[Tensor, "N V"]) -> Float[Tensor, "N V"]:
    """The probabilities that a softmax variant gives to the classes."""
    if name == "softmax":
        return logits.softmax(dim=1)
    if name == "stablemax":
        z = logits.double()
        s = torch.where(z >= 0, z + 1, 1 / (1 - z.clamp(max=0)))
        return s / s.sum(dim=1, keepdim=True)
    z = logits - logits.amax(dim=1, keepdim=True)  # large logits would lose precision
    return (z - sparsemax_threshold(z)).clamp(min=0)
