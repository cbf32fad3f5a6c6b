"""Telescoping compared with simpler searches at equal FLOPs.

    python -m benchmarks.search                             (closed-form surfaces)
    python -m benchmarks.search --real                      (the quick start's job, really trained)
    python -m benchmarks.search --quick

`robust` runs first; every other method gets the FLOPs that it spent, and must choose values for the
target width: the published rule with the largest grid that they pay for; the best point of a square
grid at the base width, copied; Optuna's Gaussian process at the base width, copied; the same, and
random search, at the target. At the target one run may cost more than the whole tuning: a method
has at least one. Optuna searches with at most 30 points, each the mean over as many seeds as the
FLOPs pay for.

On a surface (60 of them, noise 0.2 % of the loss, the law of drift drawn anew) the optimum at the
target is known. Reported are the rms error of lr in octaves, the share within half an octave, the
excess over the optimal loss in %, and how often the 90 % interval of lr held the optimum. A choice
whose run would diverge is scored by the bowl. In real training each choice is trained at the target
with three seeds that no method has seen, and the reference is the lowest mean among them and around
the winner's learning rate. Real runs are kept in a JSON-lines file, so that an interrupted
benchmark resumes.

Parts: `Choice` · the methods, from `telescoped` to `optuna_at` · `METHODS` · `on_surfaces` ·
`Store`, `for_real`.
"""

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from api.cli import job_file
from benchmarks.arguments import parsed
from surfaces.bowls import FOURFOLD, Surface, random_surface, study
from telescope.studies import registry
from telescope.studies.ranges import Range
from telescope.studies.telescoping.answer.levels import final_run_flops
from telescope.studies.telescoping.fold.ladders import all_ladders
from telescope.studies.telescoping.fold.progress import final_loss_of
from telescope.studies.telescoping.fold.specs import spec_of, trial_spec
from telescope.studies.telescoping.kind import KIND
from telescope.studies.telescoping.ladder.ladder import Ladder, Outcome, argmin, grid
from telescope.studies.telescoping.question.parts import PaperOptions
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.report import Report
from telescope.studies.telescoping.schedules import windows
from telescope.train.loop import train_one
from telescope.trials.lattice import from_octaves, snap
from telescope.trials.outcome import Measurement, Trial, completed
from telescope.trials.spec import TrialSpec

Runs = Callable[[Sequence[TrialSpec]], list[Trial]]

OPTUNA_POINTS = 30
GRIDS = PaperOptions(sampler="grid")
SCORING_SEEDS = (1000, 1001, 1002)
AROUND = (-1.0, -0.5, 0.5, 1.0)  # octaves of lr around the winner that the reference tries too


@dataclass(frozen=True)
class Choice:
    """The values that a method chooses for the target."""

    x: tuple[float, ...]  # octaves of each axis
    flops: float
    interval: tuple[float, float] | None = None  # of lr, octaves


Method = Callable[
    [Question, Runs, float, int], Choice
]  # study, runs, FLOPs, number of the random stream


# Methods


def telescoped(asked: Question, runs: Runs) -> Choice:
    trials: list[Trial] = []
    while not (plan := KIND.of(asked).plan(trials)).done:
        trials += runs(plan.start)
    report: Report = KIND.of(asked).report(trials)
    found, (ladder,) = report.ladders[0].hyperparameters, all_ladders(asked)
    x = tuple(math.log2(found[axis.name].value) for axis in ladder.axes)
    return Choice(
        x, report.ladders[0].cost.flops, (math.log2(found["lr"].low), math.log2(found["lr"].high))
    )


def published(asked: Question, runs: Runs, flops: float, number: int) -> Choice:
    """Algorithm 1 (strict) with the largest m x m grid whose whole ladder the FLOPs pay for."""

    def of(points: int) -> Question:
        swept = {
            name: replace(r, points=points)
            for name, r in vars(asked.search).items()
            if isinstance(r, Range)
        }
        return replace(asked, schedule="paper", paper=GRIDS, search=replace(asked.search, **swept))

    def cost(ladder: Ladder) -> float:
        return ladder.base_flops * sum(
            c * windows.runs(ladder, level, GRIDS) for level, c in enumerate(ladder.costs)
        )

    paid = [m for m in range(3, 33) if cost(all_ladders(of(m))[0]) <= flops]
    return telescoped(of(max(paid, default=3)), runs)


def copied(asked: Question, runs: Runs, flops: float, number: int) -> Choice:
    """The lowest loss of the largest square grid at the base width."""
    (ladder,) = all_ladders(asked)
    side = int((flops / ladder.base_flops) ** (1 / len(ladder.axes)))
    points = grid(0, [replace(axis, points=side).values for axis in ladder.axes], seeds=1)
    trials = runs([spec_of(asked, ladder, point) for point in points])
    best = argmin(
        [Outcome(point, final_loss_of(trial)) for point, trial in zip(points, trials, strict=True)]
    )
    return Choice(best, sum(trial.flops for trial in trials))


def optuna_at(
    target: bool, sampler: str, times: int, asked: Question, runs: Runs, flops: float, number: int
) -> Choice:
    """Optuna at the base or the target width: the values of lowest mean loss over their seeds.

    Its budget is a multiple of the FLOPs.
    """
    import optuna

    warnings.filterwarnings(
        "ignore", module="optuna"
    )  # that the sampler is new, and that it clips the losses of diverged runs
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    (ladder,) = all_ladders(asked)
    width, cost = (
        (ladder.target_width, final_run_flops(asked, ladder))
        if target
        else (ladder.widths[0], ladder.base_flops)
    )
    count = max(1, int(times * flops / cost))
    points = min(count, OPTUNA_POINTS)
    samplers = {
        "gp": optuna.samplers.GPSampler(seed=number, n_startup_trials=min(10, 1 + points // 3)),
        "random": optuna.samplers.RandomSampler(seed=number),
    }
    search = optuna.create_study(sampler=samplers[sampler])
    spent = 0.0
    for _ in range(points):
        trial = search.ask()
        x = [snap(trial.suggest_float(axis.name, axis.low, axis.high)) for axis in ladder.axes]
        values = {axis.name: from_octaves(at) for axis, at in zip(ladder.axes, x, strict=True)}
        found = runs(
            [
                trial_spec(asked, ladder.optimizer, width, values, seed)
                for seed in range(count // points)
            ]
        )
        spent += sum(one.flops for one in found)
        search.tell(trial, float(np.mean([final_loss_of(one) for one in found])))
    return Choice(tuple(snap(search.best_params[axis.name]) for axis in ladder.axes), spent)


METHODS: dict[str, Method] = {
    "published rule (strict)": published,
    "square grid at base, copied": copied,
    "Optuna GP at base, copied": partial(optuna_at, False, "gp", 1),
    "Optuna GP at target": partial(optuna_at, True, "gp", 1),
    "random at target": partial(optuna_at, True, "random", 1),
}
SIXTEEN_TIMES: dict[str, Method] = {
    "Optuna GP at target, 16 x the FLOPs": partial(optuna_at, True, "gp", 16),
    "random at target, 16 x the FLOPs": partial(optuna_at, True, "random", 16),
}


def choices(
    asked: Question, runs: Runs, number: int, methods: dict[str, Method]
) -> Iterator[tuple[str, Choice]]:
    """The choices of all methods, robust first."""
    first = telescoped(asked, runs)
    yield "robust", first
    for name, method in methods.items():
        yield name, method(asked, runs, first.flops, number)


# Closed-form surfaces


def on_surface(number: int, noise: float) -> list[tuple[str, Choice]]:
    surface = random_surface(number, axes=2, noise=noise, law="drawn")
    asked, methods = study(2, **FOURFOLD), METHODS | SIXTEEN_TIMES
    return list(
        choices(
            asked, lambda specs: [completed(spec, surface(spec)) for spec in specs], number, methods
        )
    )


def on_surfaces(count: int, noise: float, workers: int) -> None:
    began, numbers = time.monotonic(), range(count)
    found: dict[str, list[tuple[Surface, Choice]]] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for number, answers in enumerate(pool.map(on_surface, numbers, [noise] * count)):
            for name, choice in answers:
                found.setdefault(name, []).append(
                    (random_surface(number, axes=2, noise=noise, law="drawn"), choice)
                )
            print(
                f"\r{number + 1}/{count} surfaces, {time.monotonic() - began:.0f} s",
                end="",
                flush=True,
            )
    base = all_ladders(study(2, **FOURFOLD))[0].base_flops
    print(f"\n\n{count} surfaces, noise {noise} % of the loss; cost in runs at the base width")
    print(
        f"{'method':<36}{'cost':>6}{'lr rms':>8}{'within 0.5':>12}{'regret mean':>13}{'p95 %':>7}{'covers':>8}{'+-octave':>10}"
    )
    for name, answers in found.items():
        print(f"{name:<36}{surfaces_row(answers, base)}")


def surfaces_row(answers: list[tuple[Surface, Choice]], base_flops: float) -> str:
    errors = np.array([choice.x[0] - surface.target[0] for surface, choice in answers])
    regret = np.array(
        [surface.excess(surface.target_width, choice.x) for surface, choice in answers]
    )
    cost = np.mean([choice.flops for _, choice in answers]) / base_flops
    held = [
        choice.interval[0] <= surface.target[0] <= choice.interval[1]
        for surface, choice in answers
        if choice.interval
    ]
    half = [
        (choice.interval[1] - choice.interval[0]) / 2 for _, choice in answers if choice.interval
    ]
    within, rms = np.mean(np.abs(errors) <= 0.5), np.sqrt(np.mean(errors**2))
    covers = f"{np.mean(held):>8.0%}{np.mean(half):>10.2f}" if held else f"{'-':>8}{'-':>10}"
    return f"{cost:>6.0f}{rms:>8.2f}{within:>12.0%}{regret.mean():>13.3f}{np.quantile(regret, 0.95):>7.2f}{covers}"


# Real training


@dataclass
class Store:
    """A runner that runs specs missing in its file; callable as `Runs`."""

    file: Path
    pool: ProcessPoolExecutor

    def __post_init__(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.known = {digest: Measurement(**end) for digest, end in map(json.loads, lines)}

    def __call__(self, specs: Sequence[TrialSpec]) -> list[Trial]:
        missing = [spec for spec in specs if spec.digest not in self.known]
        with self.file.open("a") as file:
            for spec, end in zip(missing, self.pool.map(last, missing), strict=True):
                self.known[spec.digest] = end
                file.write(json.dumps([spec.digest, asdict(end)]) + "\n")
                file.flush()
                print(f"\r{len(self.known)} runs so far", end="", flush=True)
        return [completed(spec, [self.known[spec.digest]]) for spec in specs]


def last(spec: TrialSpec) -> Measurement:
    """The last loss of a run."""
    torch.set_num_threads(1)
    *_, end = train_one(spec)
    return replace(end, metrics=dict(end.metrics))


def at_target(asked: Question, runs: Runs, x: Sequence[float]) -> np.ndarray:
    """Losses of the scoring seeds at the target."""
    (ladder,) = all_ladders(asked)
    values = {axis.name: from_octaves(snap(at)) for axis, at in zip(ladder.axes, x, strict=True)}
    specs = [
        trial_spec(asked, ladder.optimizer, ladder.target_width, values, seed)
        for seed in SCORING_SEEDS
    ]
    return np.array([final_loss_of(trial) for trial in runs(specs)])


def for_real(job: Path, store: Path, workers: int) -> None:
    asked = registry.resolved(registry.parse(job_file.read_job_file(job))).question
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        runs = Store(store, pool)
        found = dict(choices(asked, runs, 0, METHODS))
        losses = {name: at_target(asked, runs, choice.x) for name, choice in found.items()}
        winner = found[min(losses, key=lambda name: float(losses[name].mean()))].x
        around = {by: at_target(asked, runs, (winner[0] + by, *winner[1:])) for by in AROUND}
    best = min([*losses.values(), *around.values()], key=lambda seeds: float(seeds.mean()))
    width, seeds = asked.model.target_width, len(SCORING_SEEDS)
    print(
        f"\n\n{job.name}: loss at width {width} with {seeds} seeds that no method has seen; +- are standard errors"
    )
    print(
        f"{'method':<30}{'TFLOP':>7}{'lr':>9}{'90 % interval':>19}{'wd':>9}{'loss':>9}{'+-':>8}{'regret %':>10}{'+-':>7}"
    )
    for name, choice in found.items():
        print(f"{name:<30}{real_row(choice, losses[name], best)}")
    moved = ", ".join(f"{by:+g} {seeds.mean():.4f}" for by, seeds in sorted(around.items()))
    print(
        f"around the lowest of these, octaves of lr and loss: {moved}; regret is against the lowest of all, {best.mean():.4f}"
    )


def real_row(choice: Choice, losses: np.ndarray, best: np.ndarray) -> str:
    lr, wd, root = 2.0 ** choice.x[0], 2.0 ** choice.x[1], math.sqrt(len(losses))
    interval = " to ".join(f"{2.0**end:.3g}" for end in choice.interval) if choice.interval else "-"
    behind = (
        100 * (losses - best) / best.mean()
    )  # seed by seed: they share initialisation and data order
    found = f"{choice.flops / 1e12:>7.2f}{lr:>9.3g}{interval:>19}{wd:>9.3g}{losses.mean():>9.4f}{losses.std(ddof=1) / root:>8.4f}"
    return f"{found}{behind.mean():>10.2f}{behind.std(ddof=1) / root:>7.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", action="store_true", help="train instead of evaluating surfaces")
    parser.add_argument("--surfaces", type=int, default=60)
    parser.add_argument("--noise", type=float, default=0.2, help="noise, in %% of the loss")
    parser.add_argument("--job", type=Path, default=Path("api/examples/quickstart.yaml"))
    parser.add_argument("--store", type=Path, default=Path(".telescope/search.jsonl"))
    parser.add_argument("--workers", type=int, default=1)
    given = parsed(parser, surfaces=2)
    if given.real:
        for_real(given.job, given.store, given.workers)
    else:
        on_surfaces(given.surfaces, given.noise, given.workers)


if __name__ == "__main__":
    main()
