"""Studies on hundreds of random surfaces, and the requirements on the answers of the studies.

A surface gives the loss by a formula instead of training (`surfaces.bowls`), so that the error of
an answer is known. A scenario is a study together with a family of surfaces. Its requirements say
how accurate, how honest and how cheap the answers must be.

Costs are in runs at the base width; the cost of a run grows fourfold per doubling of the width. The
share of a scenario is the mean cost of its studies divided by the cost of the published rule
(Algorithm 1 of arXiv 2505.02222). With two hyperparameters, the published rule costs 256 runs: it
trains 8x8, 4x4, 2x2 and 1x1 points at four widths, each width twice the one before.

The name of a scenario says how its surfaces differ from the ordinary ones: "sigma" is the noise in
% of the loss, "n^-1/2" is a law by which the optimum moves, "a" is the curvature, and "k" is the
number of hyperparameters. Distances are in octaves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from surfaces.bowls import FOURFOLD, LOWS, Surface, document, random_surface, study, walled
from telescope.studies import run_study
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.kind import KIND
from telescope.studies.telescoping.question.question import Question

Bounds = tuple[float, float]
HALF_OCTAVE = 0.5
CLAIMED = {"flat", "resolved"}  # statuses by which an answer claims that a value is good
# An answer is dear if its values of the hyperparameters other than the learning rate cost more than
# this, in % of the loss.
DEAR = 0.2


@dataclass(frozen=True)
class Floors:
    """The requirements on the results of a scenario.

    Most fields limit the property of `Row` with the same name, which is a share of all studies.
    """

    within: float = 0.0  # smallest share
    cover: Bounds = (0.0, 1.0)  # smallest and largest share
    resolved: Bounds = (0.0, 1.0)  # smallest and largest share
    unbracketed: float = 0.0  # smallest share
    wrong: float = 1.0  # largest share
    regret: float = math.inf  # largest mean of the regret over the studies, in % of the loss
    worst: float = math.inf  # largest error of the learning rate in any study, in octaves
    dear: float = 1.0  # largest share
    share: float = math.inf  # largest cost, divided by the cost of the published rule


@dataclass(frozen=True)
class Scenario:
    """A study that is run on many surfaces."""

    name: str
    surface: Callable[[int], Surface]  # makes the surface with a number
    floors: Floors
    axes: int = 2  # number of hyperparameters
    changes: dict[str, Any] = field(default_factory=dict)  # changes to the study's document
    studies: int = 200  # largest number of surfaces
    published: float = 256.0  # cost of the published rule, in runs at the base width
    peers: bool = False  # True if the published rule is run on the same surfaces for comparison


def study_of(scenario: Scenario) -> Question:
    """Return the question of a scenario's study."""
    changes = FOURFOLD | scenario.changes
    points = (8,) * 5 if changes.get("schedule") == "paper" else (8, 3, 3, 3, 3)
    return study(scenario.axes, points, **changes)


def noisy(noise: float, **changes: Any) -> Callable[[int], Surface]:
    """Return a function that makes random surfaces with this noise, in % of the loss."""
    return partial(random_surface, noise=noise, **changes)


def steady(number: int) -> Surface:
    """Return a surface whose optimum moves by 0.5 to 1 octave per doubling of the width.

    Such a drift is typical of a wrong parametrisation.
    """
    rng = np.random.default_rng([number, 1])
    drift = tuple(float(rng.choice([-1, 1]) * rng.uniform(2, 4)) for _ in range(2))
    return random_surface(number, noise=0.2, law="constant", drift=drift)


def outside(number: int, side: int) -> Surface:
    """Return a surface whose best learning rate at the base width lies outside the job's range.

    It lies up to two octaves below the range if `side` is -1, and above the range if `side` is 1.
    """
    surface = random_surface(number, noise=0.2)
    beyond = float(np.random.default_rng([number, 2]).uniform(0, 2))
    border = LOWS[0] if side < 0 else LOWS[0] + 7
    return replace(surface, target=(border + side * beyond - surface.drift[0], *surface.target[1:]))


def behind_a_wall(number: int) -> Surface:
    """Return a surface whose best learning rate lies outside the job's range at every width.

    At the width at which it is nearest to the range, it lies 0.6 to 2 octaves outside.
    """
    surface, side = random_surface(number, noise=0.2, cliff=math.inf), 1 if number % 2 else -1
    beyond = float(np.random.default_rng([number, 4]).uniform(0.6, 2)) + max(
        0.0, -side * surface.drift[0]
    )
    border = LOWS[0] if side < 0 else LOWS[0] + 7
    return replace(surface, target=(border + side * beyond, *surface.target[1:]))


def cliff(number: int) -> Surface:
    """Return a surface whose cliff lies one to two octaves above the best learning rate."""
    return random_surface(
        number, noise=0.2, cliff=float(np.random.default_rng([number, 3]).uniform(1, 2))
    )


def parabola(number: int) -> Surface:
    """Return a surface without noise and skew whose bowl has the same shape at every width."""
    return random_surface(number, skew="none", bend=(1.0,) * 8)


def saturating(number: int, noise: float, law: str = "drawn") -> Surface:
    """Return a surface on which the loss saturates as the weight decay falls to 0.

    Training without weight decay costs 0.4 to 1.6 times as much loss as an error of one octave of
    the learning rate. Above the optimal weight decay, the loss rises without limit.
    """
    rng, surface = np.random.default_rng([number, 4]), random_surface(number, noise=noise, law=law)
    return replace(
        surface,
        plateau=surface.curvature * float(rng.uniform(0.4, 1.6)),
        lean=float(rng.uniform(-0.3, 0.3)),
    )


RIGHT, CHEAP = 0.95, 0.8
GOOD = Floors(within=RIGHT, wrong=0.03, dear=0.03, share=CHEAP)
SATURATING = Floors(within=RIGHT, wrong=0.03, regret=0.05, dear=0.03, share=CHEAP)
SATURATING_NOISY = Floors(regret=0.1, dear=0.05, wrong=0.05, share=1)
ONE_WIDTH = document()["model"] | {"calibration_width": 32}

SCENARIOS = (
    Scenario("sigma 0, parabola", parabola, Floors(within=1, worst=0.3, regret=0.02, share=CHEAP)),
    Scenario("sigma 0", noisy(0), GOOD),
    Scenario("sigma 0.1 %", noisy(0.1), GOOD, peers=True),
    Scenario("sigma 0.2 %", noisy(0.2), GOOD, peers=True),
    Scenario("sigma 0.5 %", noisy(0.5), Floors(wrong=0.05, share=1), peers=True),
    Scenario("sigma 1 %", noisy(1.0), Floors(wrong=0.05, share=1)),
    Scenario("n^-1/2, sigma 0.1 %", noisy(0.1, law="root"), GOOD),
    Scenario("n^-1/2, sigma 0.2 %", noisy(0.2, law="root"), GOOD),
    Scenario(
        "law drawn, sigma 0.2 %",
        noisy(0.2, law="drawn"),
        Floors(within=RIGHT, cover=(0.85, 0.98), wrong=0.03, share=CHEAP),
    ),
    Scenario("weight decay saturates", partial(saturating, noise=0.2), SATURATING),
    Scenario(
        "weight decay saturates, sigma 0.5 %",
        partial(saturating, noise=0.5, law="inverse"),
        SATURATING_NOISY,
    ),
    Scenario("no drift", noisy(0.2, drift=(0.0, 0.0)), GOOD),
    Scenario(
        "constant drift, 0-1.5 in all", noisy(0.2, law="constant"), Floors(wrong=0.12, share=1)
    ),
    Scenario(
        "constant drift, 0.5-1 a doubling", steady, Floors(resolved=(0, 0.15), wrong=0.12, share=1)
    ),
    Scenario(
        "sigma 0.5 %, a 0.25, unpaired",
        noisy(0.5, curvature=0.25, pairing=0.0),
        Floors(resolved=(0, 0.5), wrong=0.08, share=1),
    ),
    Scenario(
        "optimum 0-2 below the range",
        partial(outside, side=-1),
        Floors(within=RIGHT, wrong=0.03, share=1),
    ),
    Scenario(
        "optimum 0-2 above the range",
        partial(outside, side=1),
        Floors(within=RIGHT, wrong=0.03, share=1),
    ),
    Scenario(
        "hard bound",
        behind_a_wall,
        Floors(resolved=(0, 0.02), unbracketed=RIGHT, wrong=0.02, share=CHEAP),
        changes=walled(),
    ),
    Scenario("cliff 1-2 above the optimum", cliff, Floors(within=RIGHT, wrong=0.03, share=1)),
    Scenario("level optima jitter by 0.1", noisy(0.2, jitter=0.1), Floors(wrong=0.12, share=1)),
    Scenario("level optima jitter by 0.2", noisy(0.2, jitter=0.2), Floors(wrong=0.12, share=1)),
    Scenario(
        "copy from the base width",
        noisy(0.2),
        Floors(resolved=(0, 0)),
        changes={"model": ONE_WIDTH},
    ),
    Scenario(
        "k = 1",
        noisy(0.2, axes=1),
        Floors(within=RIGHT, wrong=0.03, share=1),
        axes=1,
        published=96.0,
    ),
    Scenario(
        "k = 3",
        noisy(0.2, axes=3),
        Floors(within=RIGHT, wrong=0.03, share=0.2),
        axes=3,
        published=1956.0,
    ),
    Scenario(
        "k = 4",
        noisy(0.2, axes=4),
        Floors(within=RIGHT, wrong=0.03, share=0.2),
        axes=4,
        studies=40,
        published=18_560.0,
    ),
    Scenario(
        "k = 5",
        noisy(0.2, axes=5),
        Floors(within=RIGHT, wrong=0.03, share=0.2),
        axes=5,
        studies=40,
        published=129_424.0,
    ),
)


@dataclass(frozen=True)
class Outcome:
    """The quality of the answer of one study."""

    error: float  # error of the learning rate at the target width, in octaves
    regret: float  # excess over the lowest loss at the target width, in %
    covered: tuple[bool, ...]  # for each axis, True if the 90 % interval contains the optimum
    resolved: bool  # True if the verdict is "resolved"
    unbracketed: bool  # True if the verdict is "unbracketed"
    cost: float  # cost of the study, in runs at the base width
    most: float  # budget of the study, in runs at the base width
    # True if the study calls all hyperparameters other than the learning rate flat or resolved, but
    # these values cost more than DEAR at the best learning rate.
    dear: bool


def outcome(scenario: Scenario, number: int) -> Outcome:
    """Run the study of a scenario on the surface with this number."""
    question, surface = study_of(scenario), scenario.surface(number)
    (report,) = run_study(KIND.of(question), surface).ladders
    (ladder,) = all_ladders(question)
    answers = [report.hyperparameters[axis.name] for axis in ladder.axes]
    scales = [axis.scale for axis in ladder.axes]
    x = [
        scale.octaves(hyperparameter.value)
        for hyperparameter, scale in zip(answers, scales, strict=True)
    ]
    ends = [
        sorted((scale.octaves(hyperparameter.low), scale.octaves(hyperparameter.high)))
        for hyperparameter, scale in zip(answers, scales, strict=True)
    ]
    return Outcome(
        error=x[0] - surface.target[0],
        regret=surface.excess(surface.target_width, x),
        covered=tuple(
            low <= best <= high for (low, high), best in zip(ends, surface.target, strict=True)
        ),
        resolved=report.verdict == "resolved",
        unbracketed=report.verdict == "unbracketed",
        cost=math.fsum(
            level.trials * cost for level, cost in zip(report.levels, ladder.costs, strict=False)
        ),
        most=ladder.max_base_runs,
        dear=surface.excess(surface.target_width, (surface.target[0], *x[1:])) > DEAR
        and {hyperparameter.status for hyperparameter in answers[1:]} <= CLAIMED,
    )


@dataclass(frozen=True)
class Row:
    """The results of all studies of a scenario."""

    scenario: Scenario
    outcomes: tuple[Outcome, ...]
    seconds: float = 0.0

    def mean(self, of: Callable[[Outcome], float]) -> float:
        """Return the mean of a quantity over the studies."""
        return float(np.mean([of(result) for result in self.outcomes]))

    @property
    def within(self) -> float:
        """The share of answers whose learning rate is at most half an octave from the best one."""
        return self.mean(lambda result: abs(result.error) <= HALF_OCTAVE)

    @property
    def cover(self) -> float:
        """The share of answers whose 90 % interval contains the best learning rate."""
        return self.mean(lambda result: result.covered[0])

    @property
    def resolved(self) -> float:
        """The share of answers with the verdict "resolved"."""
        return self.mean(lambda result: result.resolved)

    @property
    def unbracketed(self) -> float:
        """The share of answers with the verdict "unbracketed"."""
        return self.mean(lambda result: result.unbracketed)

    @property
    def wrong(self) -> float:
        """The share of answers that have the verdict "resolved" but are wrong.

        The learning rate of a wrong answer is more than half an octave from the best one.
        """
        return self.mean(lambda result: result.resolved and abs(result.error) > HALF_OCTAVE)

    @property
    def dear(self) -> float:
        """The share of answers whose values of the other hyperparameters cost more than DEAR.

        Only answers that call all these values flat or resolved count.
        """
        return self.mean(lambda result: result.dear)

    @property
    def share(self) -> float:
        """The mean cost, divided by the cost of the published rule."""
        return self.mean(lambda result: result.cost) / self.scenario.published

    @property
    def missed(self) -> list[str]:
        """The names of the requirements that are not met.

        One requirement holds for all scenarios: "cap" means that no study exceeds its budget.
        """
        floors = self.scenario.floors
        checks = {
            "within": self.within >= floors.within,
            "cover": floors.cover[0] <= self.cover <= floors.cover[1],
            "resolved": floors.resolved[0] <= self.resolved <= floors.resolved[1],
            "unbracketed": self.unbracketed >= floors.unbracketed,
            "wrong": self.wrong <= floors.wrong,
            "regret": self.mean(lambda result: result.regret) <= floors.regret,
            "dear": self.dear <= floors.dear,
            "worst": max(abs(result.error) for result in self.outcomes) <= floors.worst,
            "share": self.share <= floors.share,
            "cap": all(result.cost <= result.most * (1 + 1e-9) for result in self.outcomes),
        }
        return [name for name, holds in checks.items() if not holds]
