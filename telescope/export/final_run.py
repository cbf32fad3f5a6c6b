"""The run that is exported: the model at its target width with the hyperparameters of an answer.

A ladder is the search of one optimizer over several widths, and each ladder has an answer. If a job
compares several architectures or texts, these are its variants, and each variant has its own
ladders.

The model of the run is built as in training, but on torch's meta device, where tensors have shapes
but no values. So the model's parameter groups and shapes are the same as in training.
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
        "name",
        "lr",
        "weight_decay",
        "adamw_lr_ratio",
        "parametrisation",
        "lr_convention",
        "update_scale",
        "muon_lr_rule",
        "weight_decay_rule",
        "momentum",
        "nesterov",
        "newton_schulz_steps",
        "newton_schulz_dtype",
        "beta1",
        "beta2",
        "eps",
        "init_scale",
        "muon_split",
        "qk_clip",
        "qk_clip_alpha",
        "measure_max_logit",
    ),
    HorizonSpec: (
        "steps",
        "batch_tokens",
        "micro_batch_tokens",
        "warmup_fraction",
        "decay",
        "decay_fraction",
        "final_lr_fraction",
        "evaluation_tokens",
        "evaluate_every",
        "record_every",
        "stop_below_loss",
        # for runs on tables, which are never exported
        "sustained_evaluations",
        "stop_when_sustained",
    ),
}
"""The options that the formats torch and Megatron-LM handle. A format handles an option if it
expresses, ignores or refuses this option. Both formats must handle an option before it is added
here."""

REFUSED_OPTIONS = ("muon_split", "qk_clip")
"""Options that neither format can express. If such an option does not have its default value, the
export in these formats is refused."""


@dataclass(frozen=True)
class UsedTrial:
    """A trial that an answer is based on."""

    digest: str
    optimizer: str
    width: int
    seed: int
    numerics: str | None  # torch version, device and revision of telescope's arithmetic
    variant: str = ""  # empty if the job compares no variants


@dataclass(frozen=True)
class SourceJob:
    """The job whose answer is exported."""

    job: str
    name: str
    date: datetime  # when the job ended or, if it has not ended, when it started
    # completed trials of all ladders, without those of the coordinate check; this check tests the
    # scaling rules by short runs before the search
    trials: tuple[UsedTrial, ...]


@dataclass(frozen=True)
class FinalRun:
    """The training run at the target width that an answer recommends."""

    question: Question
    ladder: LadderReport
    source: SourceJob
    spec: TrialSpec
    model: Model  # on the meta device: parameter names, shapes and multipliers without values

    @cached_property
    def groups(self) -> tuple[ParameterGroup, ...]:
        return groups(self.model, self.spec.optimizer)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter, by name, in the model's order."""
        return {name: tuple(parameter.shape) for name, parameter in self.model.named_parameters()}

    @property
    def trials(self) -> tuple[UsedTrial, ...]:
        """The trials on which the ladder's answer is based."""
        ladder = (self.ladder.optimizer, self.ladder.variant)
        return tuple(
            trial for trial in self.source.trials if (trial.optimizer, trial.variant) == ladder
        )

    def matrix_shapes(self, name: str) -> list[tuple[int, ...]]:
        """(fan_out, fan_in) of each matrix that Muon orthogonalises in a parameter."""
        layout = self.model.layout(name, self.spec.optimizer)
        return [
            tuple(matrix.shape) for matrix in layout.blocks(self.model.get_parameter(name).detach())
        ]

    @property
    def numerics(self) -> tuple[str, ...]:
        """The values of the field `numerics` of `trials`, each value once."""
        return tuple(sorted({trial.numerics for trial in self.trials if trial.numerics}))

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({trial.seed for trial in self.trials}))

    @property
    def warning(self) -> str:
        """A warning if the answer's verdict is not `resolved`. Otherwise an empty text."""
        if self.ladder.verdict == "resolved":
            return ""
        return (
            f"{self.ladder.verdict.upper()}: these hyperparameters may be far from the best. "
            f"{self.ladder.reason}"
        )


def final_run(
    question: Question,
    report: Report,
    source: SourceJob,
    optimizer: OptimizerName | None = None,
    variant: str | None = None,
) -> FinalRun:
    """The run at the target width with the hyperparameters of a ladder's answer. Raises the errors
    of `exported_ladder`, which chooses the ladder."""
    ladder = exported_ladder(report, optimizer, variant)
    values = {name: estimate.value for name, estimate in ladder.hyperparameters.items()}
    chosen = next(entry for entry in variants(question) if entry.name == ladder.variant)
    spec = target_spec(chosen.question, ladder.optimizer, values)
    with torch.device("meta"):
        model = build_model(
            spec.model, spec.data.vocab_size, spec.data.context, spec.optimizer.parametrisation
        )
    return FinalRun(chosen.question, ladder, source, spec, model)


def exported_ladder(
    report: Report, optimizer: OptimizerName | None, variant: str | None = None
) -> LadderReport:
    """The ladder whose answer is exported. The default variant is the best variant. The default
    ladder is the variant's best ladder, or the first one if the best is not known. Raises
    NotExportable if the ladder has no answer, or a refused one. Raises InvalidInput if the report
    has no such optimizer or variant. Also raises InvalidInput if `variant` is None, the job
    compares several variants, and the best variant is not known."""
    variant_names = list(dict.fromkeys(ladder.variant for ladder in report.ladders))
    if variant is not None and variant not in variant_names:
        remedy = (
            f"choose {' or '.join(variant_names)}"
            if any(variant_names)
            else "leave `variant` out, since the job compares no variants"
        )
        raise InvalidInput.of("variant", f"the job has no variant of this name; {remedy}", variant)
    if variant is None and len(variant_names) > 1 and not report.best_variant:
        listed = ", ".join(variant_names)
        message = f"none of {listed} is known to be the best; name a variant"
        raise InvalidInput.of("variant", message)
    chosen_variant = report.best_variant if variant is None else variant
    ladders = [ladder for ladder in report.ladders if ladder.variant == chosen_variant]
    names = [ladder.optimizer for ladder in ladders]
    if optimizer is not None and optimizer not in names:
        message = f"the job has no ladder of this optimizer; choose {' or '.join(names)}"
        raise InvalidInput.of("optimizer", message, optimizer)
    best = next(
        (entry.best for entry in report.variants if entry.name == chosen_variant), report.best
    )
    name = optimizer or best or names[0]
    ladder = next(ladder for ladder in ladders if ladder.optimizer == name)
    if ladder.verdict == "refused":
        raise NotExportable(
            f"the answer is refused, so there is nothing to export: {ladder.reason}"
        )
    if not ladder.hyperparameters:
        remedy = (
            "run the job again, with the change that this reason suggests, if it suggests one"
            if report.final
            else "wait for the first level (the runs at the narrowest width), after resuming the "
            "job if it is paused; if this ladder has ended, run the job again with the change that "
            "the reason suggests"
        )
        raise NotExportable(f"there are no hyperparameters to export ({ladder.reason}); {remedy}")
    return ladder


def unknown_options(run: FinalRun) -> Iterator[Problem]:
    """A problem for each option of the optimizer or horizon that the formats torch and Megatron-LM
    cannot express, unless the option has its default value."""
    message = (
        "is an option that this format cannot express; use --to json, or tune with this option at "
        "its default"
    )
    sections = (("optimizer_options", run.spec.optimizer), ("horizon", run.spec.horizon))
    for section, options in sections:
        handled = [name for name in KNOWN_OPTIONS[type(options)] if name not in REFUSED_OPTIONS]
        for name in non_default_fields(options, except_for=handled):
            yield Problem(f"{section}.{name}", message, getattr(options, name))


def non_default_fields(spec: Any, except_for: Sequence[str]) -> list[str]:
    """The fields of a spec, other than `except_for`, that are not at their defaults."""
    return [
        field.name
        for field in fields(spec)
        if field.name not in except_for and getattr(spec, field.name) != field.default
    ]
