"""The metrics that an evaluation on the table of an algorithmic task gives.

A forward pass over all rows gives the logits, from which all metrics but the last two are computed:

- `loss`, `accuracy`, `balanced_accuracy`: of the held-out rows. For the balanced accuracy, the
  accuracy is computed for the rows of each answer, and then averaged over the answers. A model that
  always gives the most frequent answer has a high accuracy if this answer is frequent, but a low
  balanced accuracy.
- `unmirrored_accuracy`: accuracy on the held-out rows (a, b) for which (b, a) is not a training
  row. The metric exists only if the held-out rows contain both such rows and other rows.
- `train_rows_loss`, `train_accuracy`, `train_balanced_accuracy`: the loss, accuracy and balanced
  accuracy of the training rows. Every point of a curve also has `train_loss`, which is another
  number: the mean loss of the training steps.
- `largest_logit`: the largest logit over all rows.
- `saturated`: share of the training rows whose answer has a probability of exactly 1 in float32,
  under the softmax of the loss. With the usual softmax, the logit of the answer then has no
  gradient (softmax collapse, arXiv 2501.04697).
- `norm/<role>`: root of the sum of squares of all parameters of a role, such as `embedding`.
- `singular/hidden`: the largest singular value among the hidden matrices; 0 if there are none.

`TableData` adds the cost of the evaluation, `evaluation/flops` and `evaluation/seconds`.

At the last training step before an evaluation, `gradient_metrics` also measures `gradient/<role>`,
the norm of the gradient, and `cosine/<role>`, the cosine between gradient and parameters.
"""

import math
from collections import defaultdict

import torch
from torch import Tensor

from telescope.data.algorithmic import Table
from telescope.models.family import Model
from telescope.models.losses import LOSSES, probabilities
from telescope.train import pack
from telescope.train.evaluation import EVALUATED_TOKENS
from telescope.train.probes import spectral_norms
from telescope.trials.types import SoftmaxName


@torch.no_grad()
def evaluate(
    model: Model, table: Table, softmax: SoftmaxName, device: torch.device
) -> dict[str, float]:
    """The metrics of a model on the training rows and the held-out rows of a table."""
    train_rows, held_out_rows = (
        torch.from_numpy(table.rows[numbers]).to(device)
        for numbers in (table.train, table.held_out)
    )
    train_logits = row_logits(model, train_rows)
    logits = row_logits(model, held_out_rows)
    train_answers, answers = train_rows[:, -1], held_out_rows[:, -1]
    is_right, train_is_right = (
        logits.argmax(dim=1) == answers,
        train_logits.argmax(dim=1) == train_answers,
    )
    train_probabilities = probabilities(softmax, train_logits).float()
    answer_probabilities = train_probabilities.gather(1, train_answers[:, None])
    metrics = {
        "loss": finite_mean(LOSSES[softmax](logits, answers)),
        "accuracy": float(is_right.float().mean()),
        "balanced_accuracy": balanced(is_right, answers),
        "train_rows_loss": finite_mean(LOSSES[softmax](train_logits, train_answers)),
        "train_accuracy": float(train_is_right.float().mean()),
        "train_balanced_accuracy": balanced(train_is_right, train_answers),
        "largest_logit": float(torch.maximum(logits.max(), train_logits.max())),
        "saturated": float((answer_probabilities == 1).float().mean()),
    }
    unmirrored = torch.from_numpy(~table.mirrored).to(device)
    if unmirrored.any() and not unmirrored.all():
        metrics["unmirrored_accuracy"] = float(is_right[unmirrored].float().mean())
    return metrics | weight_metrics(model)


def row_logits(model: Model, rows: Tensor) -> Tensor:  # (N, T + 1) -> (N, V)
    """The logits for the answer of each row, in float32. The rows are evaluated in chunks that fit
    into a processor's cache."""
    chunks = torch.split(rows, max(1, EVALUATED_TOKENS // (rows.shape[1] - 1)))
    with model.evaluating():
        return torch.cat([pack.answer_logits((model,), chunk[None]) for chunk in chunks])


def balanced(is_right: Tensor, answers: Tensor) -> float:  # (N), (N)
    """The accuracy on the rows of each answer, averaged over the answers that occur."""
    counts = torch.bincount(answers)
    right = torch.bincount(answers, weights=is_right.double())
    return float((right[counts > 0] / counts[counts > 0]).mean())


def finite_mean(losses: Tensor) -> float:
    """The mean of losses; inf if the mean is not finite."""
    mean = float(losses.mean())
    return mean if math.isfinite(mean) else math.inf


def weight_metrics(model: Model) -> dict[str, float]:
    """The metrics `norm/<role>` and `singular/hidden`."""
    squares: defaultdict[str, float] = defaultdict(float)
    for name, role in model.parameter_roles().items():
        squares[f"norm/{role}"] += float(model.get_parameter(name).double().square().sum())
    matrices = [layer.matrix for layer in model.hidden_layers().values()]
    # spectral_norms divides by these factors
    factors = [math.sqrt(matrix.shape[0] / matrix.shape[1]) for matrix in matrices]
    norms = spectral_norms(matrices)
    largest = max((factor * norm for factor, norm in zip(factors, norms, strict=True)), default=0.0)
    return {name: math.sqrt(square) for name, square in squares.items()} | {
        "singular/hidden": largest
    }


@torch.no_grad()
def gradient_metrics(model: Model) -> dict[str, float]:
    """For each role, the norm of the gradient of the role's parameters, and the cosine between this
    gradient and the parameters. Roles without a gradient are left out. The cosine is also left out
    if the gradient or the parameters are zero."""
    sums: defaultdict[str, Tensor] = defaultdict(lambda: torch.zeros(3, dtype=torch.float64))
    for path, role in model.parameter_roles().items():
        parameter = model.get_parameter(path)
        if parameter.grad is not None:
            weights, gradient = parameter.double().flatten(), parameter.grad.double().flatten()
            pairs = ((gradient, gradient), (weights, weights), (gradient, weights))
            sums[str(role)] += torch.stack([a @ b for a, b in pairs]).cpu()
    metrics = {}
    for name, products in sums.items():
        of_gradient, of_weights, product = products.tolist()
        metrics[f"gradient/{name}"] = math.sqrt(of_gradient)
        if of_gradient > 0 and of_weights > 0:
            metrics[f"cosine/{name}"] = product / math.sqrt(of_gradient * of_weights)
    return metrics
