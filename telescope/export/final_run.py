"""The run that is exported: the target with the hyperparameters of a ladder's answer.

Its model is built without allocating memory, so groups and shapes are those of the model that was
tuned. `SourceJob` describes the runs behind the answer: the job, and its trials.

Parts: `SourceJob`, `UsedTrial` · `FinalRun` · `final_run` and `exported_ladder`, with the reasons
for refusals · `KNOWN_OPTIONS`, `unknown_options`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
from typing import Any

import torch

from telescope.errors import InvalidInput, NotExportable, Problem
from telescope.models.build import build_model
from telescope.models.family import Model
from telescope.optim.groups import ParameterGroup, groups
from telescope.studies.telescoping.fold.specs import target_spec
from telescope.studies.telescoping.question.question import Question
from telescope.studies.telescoping.question.variants import variants
from telescope.studies.telescoping.report import LadderReport, Report
from telescope.trials.horizon import HorizonSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.spec import TrialSpec
from telescope.trials.types import OptimizerName

KNOWN_OPTIONS: Mapping[type, tuple[str, ...]] = {
    OptimizerSpec: (
        *(
            "name",
            "lr",
            "weight_decay",
            "adamw_lr_ratio",
            "parametrisation",
            "lr_convention",
            "update_scale",
            "muon_lr_rule",
        ),
        *(
            "weight_decay_rule",
            "momentum",
            "nesterov",
            "newton_schulz_steps",
            "newton_schulz_dtype",
            "beta1",
            "beta2",
            "eps",
            "init_scale",
        ),
        *("muon_split", "qk_clip", "qk_clip_alpha", "measure_max_logit"),
    ),
    HorizonSpec: (
        *(
            "steps",
            "batch_tokens",
            "micro_batch_tokens",
            "warmup_fraction",
            "decay",
            "decay_fraction",
            "final_lr_fraction",
        ),
        *("evaluation_tokens", "evaluate_every", "record_every", "stop_below_loss"),
    ),
}
"""Options that code and flags express, need not express, or refuse. Before an option is added here,
both formats must handle it."""

REFUSED_OPTIONS = ("muon_split", "qk_clip")
"""Options that neither format can express."""


@dataclass(frozen=True)
class UsedTrial:
    """A run that an answer is based on."""

    digest: str
    optimizer: str
    width: int
    seed: int
    numerics: str | None  # the arithmetic that computed it
    variant: str = ""


@dataclass(frozen=True)
class SourceJob:
    """The job that gave the answer."""

    job: str
    name: str
    date: datetime  # of the answer
    trials: tuple[UsedTrial, ...]  # completed trials of all ladders


@dataclass(frozen=True)
class FinalRun:
    """The run that an answer recommends."""

    study: Question
    ladder: LadderReport
    source: SourceJob
    spec: TrialSpec
    model: Model  # without memory for values: names, shapes and multipliers

    @cached_property
    def groups(self) -> tuple[ParameterGroup, ...]:
        return groups(self.model, self.spec.optimizer)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all parameters by name, in the model's order."""
        return {name: tuple(parameter.shape) for name, parameter in self.model.named_parameters()}

    @property
    def trials(self) -> tuple[UsedTrial, ...]:
        """The trials that the ladder's answer is based on."""
        own = (self.ladder.optimizer, self.ladder.variant)
        return tuple(
            trial for trial in self.source.trials if (trial.optimizer, trial.variant) == own
        )

    def blocks(self, name: str) -> list[tuple[int, ...]]:
        """(fan_out, fan_in) of the matrices of a parameter that Muon orthogonalises."""
        layout = self.model.layout(name, self.spec.optimizer)
        return [
            tuple(block.shape) for block in layout.blocks(self.model.get_parameter(name).detach())
        ]

    @property
    def numerics(self) -> tuple[str, ...]:
        """The arithmetic that computed these trials."""
        return tuple(sorted({trial.numerics for trial in self.trials if trial.numerics}))

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({trial.seed for trial in self.trials}))

    @property
    def warning(self) -> str:
        """A warning for an answer that is not resolved; empty for one that is."""
        if self.ladder.verdict == "resolved":
            return ""
        return f"{self.ladder.verdict.upper()}: these hyperparameters may be far from the best. {self.ladder.reason}"


def final_run(
    study: Question,
    report: Report,
    source: SourceJob,
    optimizer: OptimizerName | None = None,
    variant: str | None = None,
) -> FinalRun:
    """The run of a ladder's answer, by default the best ladder's."""
    ladder = exported_ladder(report, optimizer, variant)
    values = {name: found.value for name, found in ladder.hyperparameters.items()}
    own = next(one.question for one in variants(study) if one.name == ladder.variant)
    spec = target_spec(own, ladder.optimizer, values)
    with torch.device("meta"):
        model = build_model(
            spec.model, spec.data.vocab_size, spec.data.context, spec.optimizer.parametrisation
        )
    return FinalRun(own, ladder, source, spec, model)


def exported_ladder(
    report: Report, optimizer: OptimizerName | None, variant: str | None = None
) -> LadderReport:
    """The ladder to export. Raises NotExportable if it has no answer or a refused one, InvalidInput
    if there is no such ladder."""
    variants = list(dict.fromkeys(ladder.variant for ladder in report.ladders))
    if variant is not None and variant not in variants:
        message = (
            f"it has {', '.join(variants)}"
            if any(variants)
            else "leave it out, since it compares none"
        )
        raise InvalidInput.of("variant", f"the job has no variant of this name; {message}", variant)
    if variant is None and len(variants) > 1 and not report.best_variant:
        raise InvalidInput.of(
            "variant",
            f"the job compares {', '.join(variants)}, whose losses cannot be compared; name one",
        )
    among = [
        ladder
        for ladder in report.ladders
        if ladder.variant == (report.best_variant if variant is None else variant)
    ]
    names = [ladder.optimizer for ladder in among]
    if optimizer is not None and optimizer not in names:
        raise InvalidInput.of(
            "optimizer", f"the job has no ladder of it; it has {', '.join(names)}", optimizer
        )
    best = next((one.best for one in report.variants if one.name == among[0].variant), report.best)
    name = optimizer or best or names[0]
    ladder = next(ladder for ladder in among if ladder.optimizer == name)
    if ladder.verdict == "refused":
        raise NotExportable(
            f"the answer is refused, so there is nothing to export: {ladder.reason}"
        )
    if not ladder.hyperparameters:
        remedy = (
            "look at the reason, and run the job again"
            if report.final
            else "wait for the first level; telescope watch follows it"
        )
        raise NotExportable(
            f"there are no hyperparameters to export yet ({ladder.reason}); {remedy}"
        )
    return ladder


def unknown_options(run: FinalRun) -> Iterator[Problem]:
    """Options of the optimizer and the horizon that the export would silently lose."""
    for part in (run.spec.optimizer, run.spec.horizon):
        for name in chosen_otherwise(
            part, [known for known in KNOWN_OPTIONS[type(part)] if known not in REFUSED_OPTIONS]
        ):
            yield Problem(
                name,
                "is an option that this format does not know; use --to json, or leave it at its default",
                getattr(part, name),
            )


def chosen_otherwise(spec: Any, known: Sequence[str]) -> list[str]:
    """The fields of a spec that are neither known nor at their defaults."""
    return [
        f.name for f in fields(spec) if f.name not in known and getattr(spec, f.name) != f.default
    ]
