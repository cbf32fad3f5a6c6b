"""Loss surfaces as formulas in place of training, so that the right answer is known.

A surface gives the final loss of a run as a function of the hyperparameters, the width and the
seed. A whole study on a surface takes a tenth of a second. The hyperparameters are the axes of a
surface, in octaves (log2). At each width the loss has the shape of a bowl:

- The optimum moves with the width by a known law, and the lowest loss falls with the width.
- Runs diverge if their learning rate lies above a limit, called the cliff.
- Part of the noise is common to all runs with the same seed and width.
- The bowl may be skewed along the axis of the learning rate, in one of two ways. The statistical
  model that telescope fits can describe only one of them.

Random surfaces resemble the losses of small models that were really trained. Their curvature is
0.25 to 1.1 % of the loss per square octave of the learning rate, and 3 to 10 times smaller along
the other axes.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from telescope.studies.registry import parse
from telescope.studies.telescoping.axes import AxisName
from telescope.studies.telescoping.question.question import Question
from telescope.train.flops import flops_until, trial_flops
from telescope.trials.outcome import Measurement
from telescope.trials.spec import TrialSpec

Law = Literal["inverse", "root", "constant"]
# The drift of the optimum per doubling of the width is proportional to the width to minus this
# power.
POWERS: dict[Law, float] = {"inverse": 1.0, "root": 0.5, "constant": 0.0}
DRAWN = (0.5, 0.3, 0.2)  # probabilities of the laws if the law is drawn at random

AXES: tuple[AxisName, ...] = (
    "lr",
    "weight_decay",
    "adamw_lr_ratio",
    "momentum",
    "warmup_fraction",
    "init_scale",
)
# The lower end of the range on each axis, in octaves. Each range is 7 octaves wide. The axis of the
# momentum has the octaves of 1 - momentum.
LOWS = (-9.0, -7.0, -4.0, -8.0, -8.0, -3.5)
DIVERGES_AT = 3  # the step at which a run above the cliff diverges


def octaves(spec: TrialSpec, axis: str) -> float:
    """Return the position of a trial on an axis, in octaves."""
    if axis == "momentum":
        return math.log2(
            1 - (spec.optimizer.momentum if spec.optimizer.name == "muon" else spec.optimizer.beta1)
        )
    return math.log2(getattr(spec.horizon if axis == "warmup_fraction" else spec.optimizer, axis))


def swept(axis: str, low: float, points: int) -> dict[str, Any]:
    """Return the range of a hyperparameter in a job, from `low` octaves to `low` + 7 octaves."""
    ends = sorted(1 - 2.0**x if axis == "momentum" else 2.0**x for x in (low, low + 7))
    return {"low": ends[0], "high": ends[1], "points": points}


@dataclass(frozen=True)
class Surface:
    """A loss as a formula. A surface can be called with a trial's spec in place of training."""

    target: tuple[float, ...]  # octaves of the optimum at the target width, one per axis
    # Octaves by which the optimum at the base width lies above the optimum at the target width.
    drift: tuple[float, ...] = (0.0,) * 5
    law: Law = "inverse"  # the law by which the optimum moves from the base to the target width
    curvature: float = 0.5  # % of the loss per square octave of the learning rate
    # How many times smaller the curvature is on each axis after the learning rate.
    flatness: tuple[float, ...] = (6.0,) * 4
    # Octaves by which the best learning rate falls per octave of another hyperparameter above its
    # optimum.
    cross: float = 0.0
    skew: Literal["none", "exponential", "tanh"] = "none"  # shape along the learning rate
    cliff: float = math.inf  # octaves above the optimal learning rate beyond which runs diverge
    noise: float = 0.0  # standard deviation of the noise, in % of the loss
    # Share of the noise's variance that is common to all runs with the same seed and width.
    pairing: float = 0.4
    # Factor on the curvature at each width: at the base width, at twice the base width, and so on.
    bend: tuple[float, ...] = (1.0,) * 8
    # Standard deviation, in octaves, by which the optima of widths below the target deviate from
    # the law.
    jitter: float = 0.0
    base_width: int = 32
    target_width: int = 512
    number: int = 0  # seed of all random numbers of the surface
    # Factor on all losses at each width, in the order of `bend`.
    scale: tuple[float, ...] = field(default=(1.0,) * 8)
    axes: tuple[AxisName, ...] = AXES
    # In a coordinate check, the changes of a layer in the first steps are proportional to the width
    # to this power.
    growth: float = 0.0
    # Loss in % that training without weight decay costs, compared with the best weight decay. If it
    # is 0, the axis of weight decay has the shape of a bowl like the other axes.
    plateau: float = 0.0
    lean: float = 0.0  # log2 of the factor by which the plateau rises per octave of learning rate

    def optimum(self, width: float) -> tuple[float, ...]:
        """Return the optimum at a width, in octaves on each axis."""
        t, i = math.log2(self.target_width / self.base_width), math.log2(width / self.base_width)
        if t == 0:
            return self.target
        power = POWERS[self.law]
        w = (
            (t - i) / t
            if power == 0
            else (2 ** (-power * i) - 2 ** (-power * t)) / (1 - 2 ** (-power * t))
        )
        offsets = [
            self.jitter * self._normal("jitter", width, axis) if self.jitter and i < t else 0.0
            for axis in self.axes
        ]
        return tuple(
            x + d * w + e for x, d, e in zip(self.target, self.drift, offsets, strict=False)
        )

    def floor(self, width: int) -> float:
        """Return the lowest loss at a width."""
        return self.scale[round(math.log2(width / self.base_width))] * (2 + 4 * width**-0.3)

    def excess(self, width: int, x: Sequence[float]) -> float:
        """Return by how many % the loss at `x` exceeds the lowest loss at the width."""
        u = [a - b for a, b in zip(x, self.optimum(width), strict=False)]
        v = u[0] + self.cross * sum(u[2:] if self.plateau else u[1:])
        bowl = {
            "none": lambda: v**2,
            "exponential": lambda: 2 * (math.exp(0.65 * v) - 1 - 0.65 * v) / 0.65**2,
            "tanh": lambda: v**2 * (1 + 0.35 * math.tanh(v)),
        }[self.skew]()
        other_axes = sum(b**2 / f for b, f in zip(u[1:], self.flatness, strict=False))
        if self.plateau:
            other_axes += self.decay(u[0], u[1]) / self.curvature - u[1] ** 2 / self.flatness[0]
        return (
            self.curvature
            * self.bend[round(math.log2(width / self.base_width))]
            * (bowl + other_axes)
        )

    def decay(self, lr: float, decay: float) -> float:
        """Return the loss in % that a weight decay costs, compared with the best weight decay.

        `lr` and `decay` are the distances of both hyperparameters from their optima, in octaves.
        The shape is one that was measured on real text. Far below the optimum, the loss does not
        depend on the weight decay (the plateau). It is lowest at the optimum, and rises ever faster
        above the optimum.
        """
        q = 2.0**decay
        return (
            self.plateau * 2.0 ** (self.lean * min(max(lr, -2.0), 2.0)) * (q - 1) ** 2 / (1 + q / 2)
        )

    def loss(self, width: int, x: Sequence[float], seed: int) -> float:
        """Return the final loss with noise. It is infinite for a learning rate above the cliff."""
        if x[0] > self.optimum(width)[0] + self.cliff:
            return math.inf
        error = 0.0
        if self.noise:
            common, own = self._normal(width, seed), self._normal(width, seed, *x)
            error = self.noise * (
                math.sqrt(self.pairing) * common + math.sqrt(1 - self.pairing) * own
            )
        return self.floor(width) * (1 + (self.excess(width, x) + error) / 100)

    def _normal(self, *key: float | str) -> float:
        text = repr((self.number, *key)).encode()
        return float(
            np.random.default_rng(int(hashlib.sha256(text).hexdigest()[:12], 16)).standard_normal()
        )

    def first_steps(self, spec: TrialSpec) -> list[Measurement]:
        """Return the measurements of a coordinate check for a model with a single layer.

        The changes of the layer in the first steps are proportional to the width to the power
        `growth`, apart from a little noise.
        """
        steps = spec.horizon.steps
        size = (self.growth + 0.05 * self._normal("coordinates", spec.seed)) * math.log2(
            spec.model.width
        )
        metrics = {
            "train_loss": 5.0,
            "loss": 5.0,
            "moved/blocks.0.layer": size,
            "own/blocks.0.layer": size - 1,
        }
        return [
            Measurement(steps, steps * spec.horizon.batch_tokens, trial_flops(spec), 0.5, metrics)
        ]

    def __call__(self, spec: TrialSpec) -> list[Measurement]:
        """Return the curve of a run, which consists of only its last point."""
        if spec.measure == "coordinates":
            return self.first_steps(spec)
        x = [
            octaves(spec, axis)
            for axis in self.axes[: len(self.target)]
            if axis != "weight_decay" or spec.optimizer.weight_decay > 0
        ]
        loss = self.loss(spec.model.width, x, spec.seed)
        diverged = math.isinf(loss)
        metrics = {"train_loss": loss} | ({} if diverged else {"loss": loss})
        steps = DIVERGES_AT if diverged else spec.horizon.steps
        return [
            Measurement(
                steps,
                steps * spec.horizon.batch_tokens,
                flops_until(spec, steps, diverged),
                0.5,
                metrics,
            )
        ]


def random_surface(number: int, axes: int = 2, **changes: Any) -> Surface:
    """Return a random surface. Equal numbers give equal surfaces.

    The optimum at the target width lies within the ranges of `document`. `changes` are fields of
    `Surface` that are set instead of drawn. If `law` is "drawn", a random law is drawn; by default
    the law is "inverse".
    """
    rng = np.random.default_rng(number)
    drawn_fields: dict[str, Any] = {
        "target": tuple(float(rng.uniform(low + 1.5, low + 5.5)) for low in LOWS[:axes]),
        "drift": tuple(float(rng.choice([-1, 1]) * rng.uniform(0, 1.5)) for _ in range(axes)),
        "curvature": float(rng.uniform(0.25, 1.1)),
        "flatness": tuple(float(rng.uniform(3, 10)) for _ in range(axes - 1)),
        "cross": float(rng.uniform(0, 0.4)),
        "skew": str(rng.choice(["exponential", "tanh"])),
        "cliff": float(rng.uniform(2, 4)),
        "bend": tuple(float(rng.uniform(0.7, 1.3)) for _ in range(8)),
        "pairing": float(rng.uniform(0, 0.8)),
        "number": number,
    }
    drawn = str(rng.choice(list(POWERS), p=DRAWN))
    return Surface(
        **{
            **drawn_fields,
            **changes,
            "law": drawn if changes.get("law") == "drawn" else changes.get("law", "inverse"),
        }
    )


# Changes to a document under which the FLOPs of a run grow fourfold per doubling of the width, to
# within 1 %. The FLOPs of the hidden matrices grow in this way. Those of the embedding, of
# attention and of Muon's update do not, but a small vocabulary, a short context and large batches
# make them negligible.
FOURFOLD: dict[str, Any] = {
    "data": {"corpus": "surface", "content": "surface", "vocab_size": 8, "context": 2},
    "horizon": {"steps": 120, "batch_tokens": 2**20},
}


def document(
    axes: int = 2, points: Sequence[int] = (8, *(3,) * 4), **changes: Any
) -> dict[str, Any]:
    """Return the document of a job that searches 7 octaves on each of the first `axes` axes.

    The job searches at the widths 32 to 256 and answers for the width 512. `points` has the number
    of grid points on each axis. `changes` replace fields of the document.
    """
    search: dict[str, Any] = {
        name: swept(name, low, count)
        for name, low, count in list(zip(AXES, LOWS, points, strict=False))[:axes]
    }
    base: dict[str, Any] = {
        "kind": "telescope",
        "name": "surface",
        "model": {"base_width": 32, "calibration_width": 256, "target_width": 512, "head_dim": 16},
        "data": {"corpus": "surface", "content": "surface", "vocab_size": 256},
        "horizon": {"steps": 120, "batch_tokens": 512},
        "search": search,
        "limits": {"max_trials": 4000},
        "coordinates": "skip",
    }
    return base | changes


def walled(axes: int = 2) -> dict[str, Any]:
    """Return the change to a document that forbids the search to leave its ranges."""
    search = document(axes)["search"]
    return {"search": {name: bounds | {"extend": False} for name, bounds in search.items()}}


def study(axes: int = 2, points: Sequence[int] = (8, *(3,) * 4), **changes: Any) -> Question:
    """Return the question of the job with the document that `document` returns."""
    return parse(document(axes, points, **changes)).question
