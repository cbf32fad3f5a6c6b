"""Many trials with Ray Tune, in two ways: each trial is a function call, or an instance of a class.

The way with a function follows the first pages of Tune's guide and has Tune's defaults: each trial
gets a new process, and Tune's loggers are on. The way with a class follows the guide's advice for
many trials: processes (Ray's actors) are reused, and the loggers are off. In both ways a trial
reports only ten times, since each report costs Tune a millisecond or two. In both ways the trials
are trained by the plain loop of `benchmarks.peers.plain`.
"""

import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
import torch
from ray import tune

from benchmarks.peers.plain import Recipe, train, warm_up

REPORTS = 10


def reports(recipe: Recipe) -> Iterator[dict[str, float]]:
    """Train a trial, and yield the values that it reports to Tune."""
    torch.set_num_threads(1)
    began, start = time.time(), time.perf_counter()
    for step, loss in train(replace(recipe, record_every=math.ceil(recipe.steps / REPORTS))):
        yield {
            "step": step,
            "loss": loss,
            "began": began,
            "train_seconds": time.perf_counter() - start,
        }


def train_trial(config: Mapping[str, int], recipes: Sequence[Recipe]) -> None:
    for report in reports(recipes[config["trial"]]):
        tune.report(report)


class TrialClass(tune.Trainable):
    def setup(self, config: dict[str, Any], recipes: Sequence[Recipe], warming: Recipe) -> None:
        warm_up(warming)  # once per process, since actors are reused
        self.recipes = recipes
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.recipe = self.recipes[new_config["trial"]]
        self.reports = reports(self.recipe)
        return True

    def step(self) -> dict[str, Any]:
        report = next(self.reports)
        return report | {"done": report["step"] == self.recipe.steps}


def run_functions(recipes: Sequence[Recipe], cores: int) -> list[dict[str, Any]]:
    trainable = tune.with_parameters(train_trial, recipes=recipes)
    return _run(trainable, len(recipes), cores, tune.TuneConfig())


def run_classes(recipes: Sequence[Recipe], cores: int, warming: Recipe) -> list[dict[str, Any]]:
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    trainable = tune.with_parameters(TrialClass, recipes=recipes, warming=warming)
    config = tune.TuneConfig(reuse_actors=True, max_concurrent_trials=cores)
    return _run(trainable, len(recipes), cores, config)


def _run(trainable: Any, trials: int, cores: int, config: tune.TuneConfig) -> list[dict[str, Any]]:
    """Run the trials, and return the last report of each trial, in the order of the trials."""
    ray.init(
        address="local",
        num_cpus=cores,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"trial": tune.grid_search(list(range(trials)))},
            tune_config=config,
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    if results.errors:
        raise RuntimeError(f"{results.num_errors} of {trials} trials failed: {results.errors[0]}")
    return [result.metrics for result in sorted(results, key=lambda result: result.config["trial"])]
