"""The importance of each swept hyperparameter (*axis*) within its range.

There are two measures. `ped_anova` (PED-ANOVA: Watanabe et al., IJCAI 2023, in Optuna's
implementation) compares the best quarter of the points in the base grid with the whole grid. The
base grid is the first set of runs, at the base width (the narrowest). This measure needs no model
of the loss, and its shares add up to one. It leaves out later runs, because they crowd around the
optimum, and the crowding would count as importance.

`explained` needs the pooled model, which describes the losses of all widths by one *bowl* around
the optimum. The pooled model includes the *fitted* axes, which have three values or more. Over the
range of values tried at the base width, the height of the bowl has a certain variance. `explained`
gives the share of this variance that each fitted axis explains by itself (its first-order Sobol'
index). These shares add up to at most one; interactions between axes explain the rest.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from telescope.extras import extra
from telescope.studies.telescoping.axes import AxisName
from telescope.studies.telescoping.ladder.bowl import bowl
from telescope.studies.telescoping.ladder.ladder import Done, Ladder, outcomes, seed_means
from telescope.studies.telescoping.ladder.pooled import Fit
from telescope.studies.telescoping.schedules.samplers import Box, X, optuna_study, quietly

# The fewest values of an axis for PED-ANOVA. With two values, chance alone often gives most of the
# better points to one of them.
FEWEST_VALUES = 3
# The share of points that count as better. PED-ANOVA usually takes 10 %, but 10 % of a base grid
# are often only two or three points, too few for a stable result.
BEST = 0.25
LEAST_POINTS = 20  # fewest points of a grid for PED-ANOVA, so that at least five count as better
NODES = 7  # nodes per axis of the numerical integration (Gauss-Legendre)


def ped_anova(ladder: Ladder, done: Sequence[Done]) -> dict[AxisName, float]:
    """The PED-ANOVA share of each axis that has three or more values in the base grid. Empty if
    there are fewer than two such axes or fewer than LEAST_POINTS points, or if all losses are
    equal.
    """
    losses = seed_means(outcomes(done[:1], level=0))
    axes = [i for i in range(len(ladder.axes)) if len({x[i] for x in losses}) >= FEWEST_VALUES]
    points = tuple((tuple(x[i] for i in axes), loss) for x, loss in losses.items())
    if len(axes) < 2 or len(points) < LEAST_POINTS or len({loss for _, loss in points}) == 1:
        return {}
    return {ladder.axes[i].name: share for i, share in zip(axes, _ped_anova(points), strict=True)}


@lru_cache(maxsize=256)
def _ped_anova(points: tuple[tuple[X, float], ...]) -> tuple[float, ...]:
    with extra("service"):
        import optuna  # here, since the import is slow

    columns = list(zip(*[x for x, _ in points], strict=True))
    with quietly():
        study, space = optuna_study(
            Box(tuple(map(min, columns)), tuple(map(max, columns))), points, "qmc", seed=0
        )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST)
        shares = optuna.importance.get_param_importances(
            study, evaluator=evaluator, params=list(space)
        )
    return tuple(float(shares[name]) for name in space)


def explained(ladder: Ladder, done: Sequence[Done], fit: Fit) -> dict[AxisName, float]:
    """The share of the bowl's variance that each fitted axis explains by itself, over the range of
    values tried at the base width.
    """
    base = outcomes(done, level=0)
    windows = [
        (min(o.point.x[i] for o in base), max(o.point.x[i] for o in base)) for i in ladder.fitted
    ]
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    columns = [(low + high) / 2 + (high - low) / 2 * nodes for low, high in windows]
    mesh = np.stack([axis.ravel() for axis in np.meshgrid(*columns, indexing="ij")], axis=1)
    heights = bowl(fit.layout, fit.theta, np.zeros(len(mesh), dtype=np.int64), mesh).reshape(
        [NODES] * len(columns)
    )
    node_weights = weights / 2
    total = _mean(heights**2, node_weights) - _mean(heights, node_weights) ** 2
    result: dict[AxisName, float] = {}
    for j, i in enumerate(ladder.fitted):
        other_weights = _product(node_weights, len(columns) - 1)
        profile = np.moveaxis(heights, j, 0).reshape(NODES, -1) @ other_weights
        variance = float(node_weights @ profile**2 - (node_weights @ profile) ** 2)
        result[ladder.axes[i].name] = variance / total if total > 0 else 0.0
    return result


def _product(node_weights: np.ndarray, axes: int) -> np.ndarray:
    """The integration weights of a mesh with this number of `axes`, flattened. `node_weights` are
    the weights of a single axis.
    """
    weights = np.ones(1)
    for _ in range(axes):
        weights = np.outer(weights, node_weights).ravel()
    return weights


def _mean(values: np.ndarray, node_weights: np.ndarray) -> float:
    """The weighted mean of values on a mesh. `node_weights` are the integration weights of a single
    axis.
    """
    return float(values.ravel() @ _product(node_weights, values.ndim))
