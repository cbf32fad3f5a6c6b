"""Closed-form loss surfaces in place of training: the right answer is known, and a whole study runs
in a tenth of a second.

A surface is a bowl in the octaves of the hyperparameters. Its optimum moves with width by a known
law, its floor falls with width, runs diverge above a cliff, and all runs of a seed at a width share
part of the noise. Random surfaces follow reference studies of small models: curvature 0.25 to 1.1 %
of the loss per octave^2 of the learning rate, other axes 3 to 10 times flatter. There are two
families of skew, of which the pooled model has only one.

Parts: `Surface`, callable in place of training · `random_surface`, a surface that depends on its
number only · `document`, `walled`, `study`, jobs on a surface.
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
# the power of the width by which the drift falls
POWERS: dict[Law, float] = {"inverse": 1.0, "root": 0.5, "constant": 0.0}
DRAWN = (0.5, 0.3, 0.2)  # probabilities of the laws, where the law is drawn

AXES: tuple[AxisName, ...] = (
    "lr",
    "weight_decay",
    "adamw_lr_ratio",
    "momentum",
    "warmup_fraction",
    "init_scale",
)
# lowest octaves of each range (for momentum, of 1 - momentum); the ranges are 7 octaves wide
LOWS = (-9.0, -7.0, -4.0, -8.0, -8.0, -3.5)
DIVERGES_AT = 3  # the step at which a run diverges


def octaves(spec: TrialSpec, axis: str) -> float:
    """The position of a trial on an axis, in octaves."""
    if axis == "momentum":
        return math.log2(
            1 - (spec.optimizer.momentum if spec.optimizer.name == "muon" else spec.optimizer.beta1)
        )
    return math.log2(getattr(spec.horizon if axis == "warmup_fraction" else spec.optimizer, axis))


def swept(axis: str, low: float, points: int) -> dict[str, Any]:
    """The range of a job from `low` octaves to 7 octaves above, lowest value first."""
    ends = sorted(1 - 2.0**x if axis == "momentum" else 2.0**x for x in (low, low + 7))
    return {"low": ends[0], "high": ends[1], "points": points}


@dataclass(frozen=True)
class Surface:
    """A closed-form loss, callable with a trial's spec in place of training; it depends on the
    swept hyperparameters, the width and the seed.
    """

    target: tuple[float, ...]  # octaves of the optimum at the target width, one per axis
    drift: tuple[float, ...] = (0.0,) * 5  # octaves from base to target
    law: Law = "inverse"
    curvature: float = 0.5
    flatness: tuple[float, ...] = (6.0,) * 4  # how many times flatter the other axes are
    cross: float = 0.0
    skew: Literal["none", "exponential", "tanh"] = "none"
    cliff: float = math.inf  # octaves above the optimal lr from which runs diverge
    noise: float = 0.0  # % of the loss
    # share of the noise's variance that a seed's runs at a width have in common
    pairing: float = 0.4
    bend: tuple[float, ...] = (1.0,) * 8  # factor on the curvature per doubling
    jitter: float = 0.0  # octaves (sd) by which each trained width's optimum deviates from the law
    base_width: int = 32
    target_width: int = 512
    number: int = 0  # of the random streams
    # factor on all losses per doubling of the width
    scale: tuple[float, ...] = field(default=(1.0,) * 8)
    axes: tuple[AxisName, ...] = AXES
    growth: float = 0.0  # exponent of width by which layers' changes in the first steps scale
    # % of the loss by which no weight decay is worse than the best one; at 0, weight decay has a
    # bowl like the other axes
    plateau: float = 0.0
    lean: float = 0.0  # octaves by which the plateau rises per octave of the learning rate

    def optimum(self, width: float) -> tuple[float, ...]:
        """The optimum at a width, in octaves of each axis."""
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
        """The loss at the optimum of a width."""
        return self.scale[round(math.log2(width / self.base_width))] * (2 + 4 * width**-0.3)

    def excess(self, width: int, x: Sequence[float]) -> float:
        """The loss above the floor, in %."""
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
        """The loss in % due to a weight decay at this distance (octaves) from its optimum, given
        the learning rate's distance. Its shape is as measured on real text: a plateau, a dip, a
        wall.
        """
        q = 2.0**decay
        return (
            self.plateau * 2.0 ** (self.lean * min(max(lr, -2.0), 2.0)) * (q - 1) ** 2 / (1 + q / 2)
        )

    def loss(self, width: int, x: Sequence[float], seed: int) -> float:
        """The final loss; infinite beyond the cliff."""
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
        """The result of a coordinate check: one layer whose changes scale as width^growth."""
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
        """The curve of a run: its last point alone."""
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
    """A random surface, always the same for a number, whose optimum lies within the ranges of
    `document`.

    `changes` are fields of `Surface` to set; law="drawn" draws a law.
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


# Data and a horizon under which the cost of a run grows fourfold per doubling of the width, to 1 %.
# Embedding, attention and Muon's own arithmetic grow otherwise; a small vocabulary, a short context
# and large batches make them small beside the hidden matrices.
FOURFOLD: dict[str, Any] = {
    "data": {"corpus": "surface", "content": "surface", "vocab_size": 8, "context": 2},
    "horizon": {"steps": 120, "batch_tokens": 2**20},
}


def document(
    axes: int = 2, points: Sequence[int] = (8, *(3,) * 4), **changes: Any
) -> dict[str, Any]:
    """A telescope job over 7 octaves per axis, levels 32 to 256, target 512."""
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
    """The change to a document under which the search may not leave its ranges."""
    search = document(axes)["search"]
    return {"search": {name: bounds | {"extend": False} for name, bounds in search.items()}}


def study(axes: int = 2, points: Sequence[int] = (8, *(3,) * 4), **changes: Any) -> Question:
    """The question of the job that `document` gives."""
    return parse(document(axes, points, **changes)).question
