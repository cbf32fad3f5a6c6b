"""An answer as JSON, for programs.

`json_text` writes an `ExportDocument`. The document contains the settings of each parameter group
and, in a Muon run, of the matrices that Muon trains. It also contains the learning-rate schedule,
the length of the run, the model, and the source of all numbers. The settings of groups and matrices
are for the target width and need no further scaling. In contrast, `optimizer_options` and
`provenance` contain base values, such as the base learning rate, which are not scaled to a width.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

import telescope
from telescope.export import schedule
from telescope.export.final_run import FinalRun
from telescope.optim.groups import ParameterGroup
from telescope.optim.newton_schulz import COEFFICIENTS
from telescope.optim.schedule import warmup_steps
from telescope.parametrisation import mup
from telescope.statistics.estimates import ScalingFit
from telescope.studies.telescoping.evidence import (
    Hyperparameter,
    LevelReport,
    Method,
    Pairing,
    Verdict,
)
from telescope.trials import mixtures
from telescope.trials.horizon import HorizonSpec
from telescope.trials.types import OptimizerName, UpdateScale


@dataclass(frozen=True)
class MatricesOfShape:
    """`count` matrices of the same shape in a parameter. Muon orthogonalises each of them
    separately."""

    name: str  # name of the parameter
    count: int
    shape: tuple[int, ...]  # (fan_out, fan_in)
    update_scale: float  # factor on the orthogonalised update, besides the learning rate


@dataclass(frozen=True)
class MuonSettings:
    """Settings that all Muon groups share. `momentum` is the share of the momentum buffer that a
    step keeps: buffer = momentum x buffer + (1 - momentum) x gradient. Weight decay is multiplied
    by the learning rate, but not by the update scale."""

    momentum: float
    nesterov: bool
    newton_schulz_steps: int
    newton_schulz_coefficients: tuple[float, float, float]
    newton_schulz_dtype: str
    update_scale: UpdateScale
    matrices: tuple[MatricesOfShape, ...]


@dataclass(frozen=True)
class AdamWSettings:
    """Settings that all AdamW groups share."""

    beta1: float
    beta2: float


@dataclass(frozen=True)
class LearningRateSchedule:
    """The learning rate of each group is the group's `scaled_lr` times the value of `factor`."""

    steps: int
    batch_tokens: int
    tokens: int  # number of tokens in all steps together
    warmup_steps: int
    decay: str
    decay_steps: int  # steps over which the learning rate falls
    final_lr_fraction: float
    # a Python expression in `step`, which counts from 0; with cosine decay, it needs `import math`
    factor: str


@dataclass(frozen=True)
class TrainedWidth:
    """A width at which trials of the ladder ran. A ladder is the search of one optimizer over
    several widths."""

    width: int
    trials: int
    diverged: int
    seeds: tuple[int, ...]
    optimum: dict[str, float]  # base values of hyperparameters; empty if all trials diverged
    # The lowest loss among the combinations of hyperparameters. The loss of a combination is a mean
    # over seeds. None if every combination has a trial that diverged.
    best_loss: float | None
    fitted_loss: float | None  # loss at the fit's optimum; None if the fit has no trial here


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from: the job, the corpus, the verdict and the trials."""

    job: str
    name: str
    date: str  # when the job ended or, if it has not ended, when it started; in ISO 8601
    telescope: str  # version that wrote the export
    # the torch versions, devices and revisions of telescope's arithmetic that computed the trials
    numerics: tuple[str, ...]
    corpus: str
    corpus_content: str  # hash of the tokens and their split into training and held-out tokens
    tokenizer: str
    verdict: Verdict
    reason: str
    method: Method | None
    pairing: Pairing
    assumptions: tuple[str, ...]
    hyperparameters: dict[str, Hyperparameter]
    scaling_fit: ScalingFit | None
    levels: tuple[TrainedWidth, ...]
    seeds: tuple[int, ...]
    trials: tuple[str, ...]  # digests of the trials


@dataclass(frozen=True)
class ExportDocument:
    """The answer of one ladder at the target width."""

    format: Literal["telescope-export/1"]
    warning: str | None  # None if the answer's verdict is `resolved`
    optimizer: OptimizerName
    model: dict[str, Any]
    vocab_size: int
    context: int  # tokens
    parameter_groups: tuple[ParameterGroup, ...]
    muon: MuonSettings | None
    adamw: AdamWSettings
    schedule: LearningRateSchedule
    optimizer_options: dict[str, Any]  # the run's OptimizerSpec, with the base lr
    provenance: Provenance


def json_text(run: FinalRun) -> str:
    return TypeAdapter(ExportDocument).dump_json(export_document(run), indent=2).decode() + "\n"


def export_document(run: FinalRun) -> ExportDocument:
    """The document that describes the exported run."""
    spec = run.spec
    return ExportDocument(
        format="telescope-export/1",
        warning=run.warning or None,
        optimizer=run.ladder.optimizer,
        model=TypeAdapter(type(spec.model)).dump_python(spec.model, mode="json"),
        vocab_size=spec.data.vocab_size,
        context=spec.data.context,
        parameter_groups=run.groups,
        muon=muon(run) if spec.optimizer.name == "muon" else None,
        adamw=AdamWSettings(spec.optimizer.beta1, spec.optimizer.beta2),
        schedule=schedule_of(spec.horizon),
        optimizer_options=asdict(spec.optimizer),
        provenance=provenance(run),
    )


def muon(run: FinalRun) -> MuonSettings:
    optimizer = run.spec.optimizer
    names = [name for group in run.groups if group.uses_muon for name in group.names]
    return MuonSettings(
        momentum=optimizer.momentum,
        nesterov=optimizer.nesterov,
        newton_schulz_steps=optimizer.newton_schulz_steps,
        newton_schulz_coefficients=COEFFICIENTS,
        newton_schulz_dtype=optimizer.newton_schulz_dtype,
        update_scale=mup.chosen_update_scale(optimizer),
        matrices=tuple(
            MatricesOfShape(name, count, shape, mup.update_scale(optimizer, *shape))
            for name in names
            for shape, count in Counter(run.matrix_shapes(name)).items()
        ),
    )


def schedule_of(horizon: HorizonSpec) -> LearningRateSchedule:
    return LearningRateSchedule(
        steps=horizon.steps,
        batch_tokens=horizon.batch_tokens,
        tokens=horizon.tokens,
        warmup_steps=warmup_steps(horizon),
        decay=horizon.decay,
        decay_steps=schedule.decay_steps(horizon),
        final_lr_fraction=horizon.final_lr_fraction,
        factor=schedule.formula(horizon),
    )


def provenance(run: FinalRun) -> Provenance:
    ladder, data = run.ladder, run.question.data
    return Provenance(
        job=run.source.job,
        name=run.source.name,
        date=run.source.date.isoformat(timespec="seconds"),
        telescope=telescope.__version__,
        numerics=run.numerics,
        corpus=data.corpus if isinstance(data.corpus, str) else mixtures.corpus_label(data.corpus),
        corpus_content=data.content,
        tokenizer=data.tokenizer,
        verdict=ladder.verdict,
        reason=ladder.reason,
        method=ladder.method,
        pairing=ladder.pairing,
        assumptions=ladder.assumptions,
        hyperparameters={str(name): value for name, value in ladder.hyperparameters.items()},
        scaling_fit=ladder.scaling_fit,
        levels=tuple(trained_width(run, level) for level in ladder.levels),
        seeds=run.seeds,
        trials=tuple(sorted(trial.digest for trial in run.trials)),
    )


def trained_width(run: FinalRun, level: LevelReport) -> TrainedWidth:
    return TrainedWidth(
        width=level.width,
        trials=level.trials,
        diverged=level.diverged,
        seeds=tuple(sorted({trial.seed for trial in run.trials if trial.width == level.width})),
        optimum={str(name): value for name, value in level.optimum.items()},
        best_loss=level.best_loss,
        fitted_loss=level.fitted_loss,
    )
