"""Telescope's search for hyperparameters, compared with simpler searches at equal FLOPs.

    python -m benchmarks.search             (on closed-form surfaces)
    python -m benchmarks.search --real      (with real training, on the job of the quick start)
    python -m benchmarks.search --quick

Each method must choose a learning rate and a weight decay for a model of a target width.
Telescope's default schedule, `robust`, runs first: it searches at a small width, the base width,
and follows the optimum through wider models. Every other method gets the FLOPs that `robust` spent:

- The published rule (Algorithm 1 of arXiv 2505.02222) also searches several widths. It uses the
  largest grid that the FLOPs pay for.
- A square grid at the base width; its best point is copied to the target width.
- Optuna's Gaussian process at the base width; its best point is copied to the target width.
- Optuna's Gaussian process at the target width.
- Random search at the target width.

A run at the target width may cost more than the whole search of `robust`, but each method gets at
least one run. Optuna searches with at most 30 points. The loss of a point is the mean over seeds,
as many as the FLOPs pay for.

By default the losses come from 60 closed-form surfaces instead of training (`surfaces.bowls`).
Their noise is 0.2 % of the loss, and the optimum at the target width is known. The table has these
columns for each method: the cost in runs at the base width, the rms error of the learning rate in
octaves (factors of 2), the share of errors of at most half an octave, the mean and the 95th
percentile of the regret (the excess over the lowest possible loss in %), how often the 90 %
interval of the learning rate contains the optimum, and the half-width of this interval in octaves.
The regret does not take into account that a run with the chosen hyperparameters may diverge. Two
further methods search at the target width with 16 times the FLOPs.

With --real, each choice is trained at the target width with three seeds that no method has used.
The regret is then relative to the lowest mean loss among all choices, and among runs with learning
rates around that of the best choice. Finished runs are stored in a JSON-lines file, so that an
interrupted benchmark resumes.
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
# Learning rates around that of the best choice, in octaves, which are also trained with --real.
LR_OFFSETS = (-1.0, -0.5, 0.5, 1.0)


@dataclass(frozen=True)
class Choice:
    """The hyperparameters that a method chooses for the target width, and the method's cost."""

    x: tuple[float, ...]  # log2 of the value of each hyperparameter
    flops: float
    interval: tuple[float, float] | None = None  # 90 % interval of log2 lr


# The arguments are the question, the function that runs trials, the FLOPs to spend, and the seed.
Method = Callable[[Question, Runs, float, int], Choice]


# Methods


def telescoped(question: Question, runs: Runs) -> Choice:
    """Search with the schedule that the question names."""
    trials: list[Trial] = []
    while not (plan := KIND.of(question).plan(trials)).done:
        trials += runs(plan.start)
    report: Report = KIND.of(question).report(trials)
    (ladder,), (answer,) = all_ladders(question), report.ladders
    estimates = answer.hyperparameters
    x = tuple(math.log2(estimates[axis.name].value) for axis in ladder.axes)
    interval = math.log2(estimates["lr"].low), math.log2(estimates["lr"].high)
    return Choice(x, answer.cost.flops, interval)


def published(question: Question, runs: Runs, flops: float, number: int) -> Choice:
    """Search with the published rule, with the largest grid for which the FLOPs suffice.

    The grid has the same number of points (3 to 32) on each axis. If the FLOPs do not suffice even
    for 3 points, 3 points are used.
    """

    def with_grid(points: int) -> Question:
        swept = {
            name: replace(axis_range, points=points)
            for name, axis_range in vars(question.search).items()
            if isinstance(axis_range, Range)
        }
        search = replace(question.search, **swept)
        return replace(question, schedule="paper", paper=GRIDS, search=search)

    def cost(ladder: Ladder) -> float:
        return ladder.base_flops * sum(
            run_cost * windows.runs(ladder, level, GRIDS)
            for level, run_cost in enumerate(ladder.costs)
        )

    affordable = [
        points for points in range(3, 33) if cost(all_ladders(with_grid(points))[0]) <= flops
    ]
    return telescoped(with_grid(max(affordable, default=3)), runs)


def copied(question: Question, runs: Runs, flops: float, number: int) -> Choice:
    """Choose the point with the lowest loss on the largest square grid at the base width."""
    (ladder,) = all_ladders(question)
    side = int((flops / ladder.base_flops) ** (1 / len(ladder.axes)))
    points = grid(0, [replace(axis, points=side).values for axis in ladder.axes], seeds=1)
    trials = runs([spec_of(question, ladder, point) for point in points])
    outcomes = [
        Outcome(point, final_loss_of(trial)) for point, trial in zip(points, trials, strict=True)
    ]
    return Choice(argmin(outcomes), sum(trial.flops for trial in trials))


def optuna_search(
    at_target: bool,
    sampler: str,
    factor: int,
    question: Question,
    runs: Runs,
    flops: float,
    number: int,
) -> Choice:
    """Choose the point with the lowest mean loss that Optuna finds.

    Optuna searches at the target width if `at_target`, and otherwise at the base width. The search
    may spend `factor` times `flops`.
    """
    import optuna

    # Optuna warns that the sampler is experimental, and that it clips the losses of diverged runs.
    warnings.filterwarnings("ignore", module="optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    (ladder,) = all_ladders(question)
    width, run_flops = ladder.widths[0], ladder.base_flops
    if at_target:
        width, run_flops = ladder.target_width, final_run_flops(question, ladder)
    run_count = max(1, int(factor * flops / run_flops))
    point_count = min(run_count, OPTUNA_POINTS)
    startup_count = min(10, 1 + point_count // 3)
    samplers = {
        "gp": optuna.samplers.GPSampler(seed=number, n_startup_trials=startup_count),
        "random": optuna.samplers.RandomSampler(seed=number),
    }
    search = optuna.create_study(sampler=samplers[sampler])
    spent = 0.0
    for _ in range(point_count):
        suggestion = search.ask()
        values = {
            axis.name: from_octaves(snap(suggestion.suggest_float(axis.name, axis.low, axis.high)))
            for axis in ladder.axes
        }
        specs = [
            trial_spec(question, ladder.optimizer, width, values, seed)
            for seed in range(run_count // point_count)
        ]
        trials = runs(specs)
        spent += sum(trial.flops for trial in trials)
        search.tell(suggestion, float(np.mean([final_loss_of(trial) for trial in trials])))
    return Choice(tuple(snap(search.best_params[axis.name]) for axis in ladder.axes), spent)


METHODS: dict[str, Method] = {
    "published rule (strict)": published,
    "square grid at base, copied": copied,
    "Optuna GP at base, copied": partial(optuna_search, False, "gp", 1),
    "Optuna GP at target": partial(optuna_search, True, "gp", 1),
    "random at target": partial(optuna_search, True, "random", 1),
}
SIXTEEN_TIMES: dict[str, Method] = {
    "Optuna GP at target, 16 x the FLOPs": partial(optuna_search, True, "gp", 16),
    "random at target, 16 x the FLOPs": partial(optuna_search, True, "random", 16),
}


def choices(
    question: Question, runs: Runs, number: int, methods: dict[str, Method]
) -> Iterator[tuple[str, Choice]]:
    """Yield the choice of each method with the method's name, first that of `robust`."""
    robust = telescoped(question, runs)
    yield "robust", robust
    for name, method in methods.items():
        yield name, method(question, runs, robust.flops, number)


# Closed-form surfaces


def surface_of(number: int, noise: float) -> Surface:
    return random_surface(number, axes=2, noise=noise, law="drawn")


def on_surface(number: int, noise: float) -> list[tuple[str, Choice]]:
    surface = surface_of(number, noise)

    def runs(specs: Sequence[TrialSpec]) -> list[Trial]:
        return [completed(spec, surface(spec)) for spec in specs]

    return list(choices(study(2, **FOURFOLD), runs, number, METHODS | SIXTEEN_TIMES))


def on_surfaces(count: int, noise: float, workers: int) -> None:
    start, numbers = time.monotonic(), range(count)
    by_method: dict[str, list[tuple[Surface, Choice]]] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for number, answers in enumerate(pool.map(on_surface, numbers, [noise] * count)):
            for name, choice in answers:
                by_method.setdefault(name, []).append((surface_of(number, noise), choice))
            seconds = time.monotonic() - start
            print(f"\r{number + 1}/{count} surfaces, {seconds:.0f} s", end="", flush=True)
    base_flops = all_ladders(study(2, **FOURFOLD))[0].base_flops
    print(f"\n\n{count} surfaces, noise {noise} % of the loss; cost in runs at the base width")
    print(
        f"{'method':<36}{'cost':>6}{'lr rms':>8}{'within 0.5':>12}{'regret mean':>13}"
        f"{'p95 %':>7}{'covers':>8}{'+-octave':>10}"
    )
    for name, answers in by_method.items():
        print(f"{name:<36}{surfaces_row(answers, base_flops)}")


def surfaces_row(answers: list[tuple[Surface, Choice]], base_flops: float) -> str:
    errors = np.array([choice.x[0] - surface.target[0] for surface, choice in answers])
    regret = np.array(
        [surface.excess(surface.target_width, choice.x) for surface, choice in answers]
    )
    cost = np.mean([choice.flops for _, choice in answers]) / base_flops
    intervals = [
        (surface.target[0], *choice.interval) for surface, choice in answers if choice.interval
    ]
    covers = f"{'-':>8}{'-':>10}"
    if intervals:
        coverage = np.mean([low <= optimum <= high for optimum, low, high in intervals])
        half_width = np.mean([(high - low) / 2 for _, low, high in intervals])
        covers = f"{coverage:>8.0%}{half_width:>10.2f}"
    within, rms = np.mean(np.abs(errors) <= 0.5), np.sqrt(np.mean(errors**2))
    return (
        f"{cost:>6.0f}{rms:>8.2f}{within:>12.0%}{regret.mean():>13.3f}"
        f"{np.quantile(regret, 0.95):>7.2f}{covers}"
    )


# Real training


@dataclass
class RunStore:
    """A function of the type `Runs` that stores finished runs in a JSON-lines file.

    A call trains only those specs whose runs are not in the file. Each line of the file has the
    digest of a spec and the last measurement of its run.
    """

    file: Path
    pool: ProcessPoolExecutor

    def __post_init__(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.finished = {digest: Measurement(**last) for digest, last in map(json.loads, lines)}

    def __call__(self, specs: Sequence[TrialSpec]) -> list[Trial]:
        missing = [spec for spec in specs if spec.digest not in self.finished]
        with self.file.open("a") as file:
            measurements = self.pool.map(last_measurement, missing)
            for spec, last in zip(missing, measurements, strict=True):
                self.finished[spec.digest] = last
                file.write(json.dumps([spec.digest, asdict(last)]) + "\n")
                file.flush()
                print(f"\r{len(self.finished)} runs so far", end="", flush=True)
        return [completed(spec, [self.finished[spec.digest]]) for spec in specs]


def last_measurement(spec: TrialSpec) -> Measurement:
    """Train a spec, and return the last point of its curve."""
    torch.set_num_threads(1)
    *_, last = train_one(spec)
    return replace(last, metrics=dict(last.metrics))


def target_losses(question: Question, runs: Runs, x: Sequence[float]) -> np.ndarray:
    """Train hyperparameters at the target width, and return the loss for each of SCORING_SEEDS.

    `x` is log2 of the value of each hyperparameter.
    """
    (ladder,) = all_ladders(question)
    values = {
        axis.name: from_octaves(snap(octaves)) for axis, octaves in zip(ladder.axes, x, strict=True)
    }
    specs = [
        trial_spec(question, ladder.optimizer, ladder.target_width, values, seed)
        for seed in SCORING_SEEDS
    ]
    return np.array([final_loss_of(trial) for trial in runs(specs)])


def with_real_training(job: Path, store: Path, workers: int) -> None:
    question = registry.resolved(registry.parse(job_file.read_job_file(job))).question
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        runs = RunStore(store, pool)
        by_method = dict(choices(question, runs, 0, METHODS))
        losses = {
            name: target_losses(question, runs, choice.x) for name, choice in by_method.items()
        }
        lr, *rest = by_method[min(losses, key=lambda name: float(losses[name].mean()))].x
        neighbours = {
            offset: target_losses(question, runs, (lr + offset, *rest)) for offset in LR_OFFSETS
        }
    best = min([*losses.values(), *neighbours.values()], key=lambda seeds: float(seeds.mean()))
    width, seeds = question.model.target_width, len(SCORING_SEEDS)
    print(
        f"\n\n{job.name}: mean loss at width {width} over {seeds} seeds that no method has used; "
        "the columns +- are standard errors"
    )
    print(
        f"{'method':<30}{'TFLOP':>7}{'lr':>9}{'90 % interval':>19}{'wd':>9}"
        f"{'loss':>9}{'+-':>8}{'regret %':>10}{'+-':>7}"
    )
    for name, choice in by_method.items():
        print(f"{name:<30}{real_row(choice, losses[name], best)}")
    around = ", ".join(
        f"{offset:+g} {seeds.mean():.4f}" for offset, seeds in sorted(neighbours.items())
    )
    print(
        f"mean losses at the best choice with lr moved by octaves: {around}; "
        f"regret is relative to the lowest mean loss of all, {best.mean():.4f}"
    )


def real_row(choice: Choice, losses: np.ndarray, best: np.ndarray) -> str:
    lr, decay, root = 2.0 ** choice.x[0], 2.0 ** choice.x[1], math.sqrt(len(losses))
    interval = " to ".join(f"{2.0**end:.3g}" for end in choice.interval) if choice.interval else "-"
    # Losses are compared seed by seed, since equal seeds have equal initial values and data order.
    regret = 100 * (losses - best) / best.mean()
    return (
        f"{choice.flops / 1e12:>7.2f}{lr:>9.3g}{interval:>19}{decay:>9.3g}"
        f"{losses.mean():>9.4f}{losses.std(ddof=1) / root:>8.4f}"
        f"{regret.mean():>10.2f}{regret.std(ddof=1) / root:>7.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", action="store_true", help="train real models")
    parser.add_argument("--surfaces", type=int, default=60)
    parser.add_argument("--noise", type=float, default=0.2, help="noise, in %% of the loss")
    parser.add_argument("--job", type=Path, default=Path("api/examples/quickstart.yaml"))
    parser.add_argument("--store", type=Path, default=Path(".telescope/search.jsonl"))
    parser.add_argument("--workers", type=int, default=1)
    arguments = parsed(parser, surfaces=2)
    if arguments.real:
        with_real_training(arguments.job, arguments.store, arguments.workers)
    else:
        on_surfaces(arguments.surfaces, arguments.noise, arguments.workers)


if __name__ == "__main__":
    main()
