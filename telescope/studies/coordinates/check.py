"""The coordinate check: whether a parametrisation keeps the size of a step in every layer and
width.

The check of G. Yang et al. (arXiv 2203.03466, D.1), as numbers with a verdict. Models of several
widths take a few steps on one fixed batch; per layer, the RMS of two changes is compared across
width (`telescope.train.probes`): the change of its raw output since the start, and the part of it
due to its own update. Growth laws and their intervals are in
`telescope.studies.coordinates.slopes`.

**pass**: no slope beyond the gate. **fail**: the whole 90 % interval of one lies beyond it, and so
does the widest doubling by itself: effects of narrow models die out, a wrong exponent does not.
**unresolved** otherwise, and where there are fewer than four widths. The check cannot see weight
decay, long horizons or slow drift; see `telescope.studies.telescoping.answer.late`.

Parts: `Design` (the runs) and `design` · `assess` (the verdict) · `step`, the fold · `carry_out`,
`check`: a whole check in this process.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from telescope.models.build import family_of
from telescope.studies.coordinates.causes import Exponent, misfits
from telescope.studies.coordinates.reasons import (
    AcrossGate,
    BeyondGate,
    CheckReason,
    DivergedAtWidths,
    Finding,
    NothingMoved,
    Reduced,
    SkippedByJob,
    TooCostly,
    TooFewWidths,
    WithinGate,
)
from telescope.studies.coordinates.slopes import GATE, CoordinateVerdict, LayerSlope, slopes
from telescope.studies.coordinates.wording import cause_words, words
from telescope.train.flops import trial_flops
from telescope.train.loop import train_one
from telescope.train.probes import LOGITS
from telescope.trials.horizon import HorizonSpec
from telescope.trials.model import AnyModel
from telescope.trials.outcome import Measurement, Trial, completed
from telescope.trials.spec import TrialSpec
from telescope.trials.types import Parametrisation

FEWEST_WIDTHS = 4
NAMED = 3  # failing layers in a reason, at most
SKIPPED_BY_JOB = SkippedByJob()
SEEDS, MORE_SEEDS, FEWEST_SEEDS = 3, 5, 2  # more where the verdict hangs
STEPS, FEWEST_STEPS = 8, 4
WINDOWS = 8  # of one context each: the fixed batch
SHARE_OF_JOB, SECONDS = 0.02, 30.0  # may be spent, whichever is more
SHARE_OF_LIMIT = 0.1  # of limits.max_flops, at most
FLOPS_PER_SECOND = 5e10  # nominal: one CPU core; a plan may not depend on a clock


@dataclass(frozen=True)
class Design:
    """The runs of a check: every width with every seed."""

    base: TrialSpec  # the run at the base width
    widths: tuple[int, ...]
    seeds: int
    most_seeds: int
    steps: int

    @property
    def reduced(self) -> Reduced | None:
        """The size to which the check was reduced to stay within its budget; None where it was
        not.
        """
        return (
            None
            if (self.seeds, self.steps) == (SEEDS, STEPS)
            else Reduced(seeds=self.seeds, steps=self.steps)
        )

    @property
    def ends(self) -> tuple[TrialSpec, TrialSpec]:
        """A run at the narrowest width and a run at the widest."""
        return self.runs[0], self.runs[len(self.widths) - 1]

    @cached_property
    def runs(self) -> tuple[TrialSpec, ...]:
        """All possible runs, seed by seed."""
        return tuple(
            at(self.base, width, seed, self.steps)
            for seed in range(self.most_seeds)
            for width in self.widths
        )


@dataclass(frozen=True)
class CoordinateReport:
    """The check's answer."""

    verdict: CoordinateVerdict
    reason: str
    layers: tuple[LayerSlope, ...]  # the steepest first
    cause: str | None  # the likely cause of a failure
    widths: tuple[int, ...]
    seeds: int
    steps: int
    lr: float
    gate: float = GATE
    because: CheckReason | None = None  # the reason as a value; None in older reports
    causes: tuple[Exponent, ...] = ()  # of a failure: the rules that do not fit

    @property
    def failed(self) -> tuple[LayerSlope, ...]:
        """The layers that failed."""
        return tuple(layer for layer in self.layers if layer.verdict == "fail")


# The runs


def at(spec: TrialSpec, width: int, seed: int, steps: int) -> TrialSpec:
    """The check's run at a width: a few steps at constant lr on one batch, without weight decay."""
    horizon, context = spec.horizon, spec.data.context
    batch_tokens = min(
        WINDOWS * context, horizon.batch_tokens, horizon.micro_batch_tokens or horizon.batch_tokens
    )
    return replace(
        spec,
        model=replace(spec.model, width=width),
        optimizer=replace(spec.optimizer, weight_decay=0.0),
        horizon=HorizonSpec(
            steps=steps,
            batch_tokens=batch_tokens,
            warmup_fraction=0.0,
            decay="constant",
            evaluation_tokens=batch_tokens,
            record_every=1,
        ),
        seed=seed,
        measure="coordinates",
    )


def widths_of(
    model: AnyModel, base_width: int, target_width: int, parametrisation: Parametrisation = "mup"
) -> tuple[int, ...]:
    """The base width doubled up to three times, not beyond the target; where these are too few,
    also halved.
    """
    doubled = [base_width * 2**i for i in range(4) if i == 0 or base_width * 2**i <= target_width]
    halved = [
        base_width // 2**i
        for i in (1, 2)
        if base_width % 2**i == 0 and can_be_built(model, base_width // 2**i, parametrisation)
    ]
    return tuple(sorted(doubled + halved[: max(0, FEWEST_WIDTHS - len(doubled))]))


def can_be_built(model: AnyModel, width: int, parametrisation: Parametrisation) -> bool:
    """Whether the model can be built at a width."""
    return family_of(model).width_problem(model, width, parametrisation) is None


def design(
    base: TrialSpec, target_width: int, job_flops: float = math.inf, max_flops: float = math.inf
) -> Design:
    """The check of a run at its base width; where a job of `job_flops` does not allow all of it,
    first with fewer seeds, then with fewer steps.

    `max_flops` is the limit of the whole job; the check leaves most of it to the search.
    """
    widths = widths_of(
        base.model, base.model.base_width, target_width, base.optimizer.parametrisation
    )
    allowed = min(
        max(SHARE_OF_JOB * job_flops, SECONDS * FLOPS_PER_SECOND), SHARE_OF_LIMIT * max_flops
    )
    for steps in (STEPS, FEWEST_STEPS):
        seed_flops = math.fsum(trial_flops(at(base, width, 0, steps)) for width in widths)
        seeds = math.floor(min(MORE_SEEDS, allowed / seed_flops))
        if seeds >= FEWEST_SEEDS:
            return Design(base, widths, min(SEEDS, seeds), seeds, steps)
    return Design(base, widths, 0, 0, FEWEST_STEPS)


# The verdict


def assess(plan: Design, trials: Sequence[Trial]) -> CoordinateReport:
    """The report on the complete trials of the first seeds."""
    seeds = len({trial.spec.seed for trial in trials})
    diverged = [trial.spec.model.width for trial in trials if trial.diverged]
    layers = () if diverged or not trials else slopes(plan.widths, trials)
    verdict, finding = check_verdict(plan, layers, seeds, diverged)
    because = CheckReason(finding, plan.reduced)
    causes = misfits(*plan.ends) if verdict == "fail" else ()
    return CoordinateReport(
        verdict=verdict,
        reason=words(because),
        layers=layers,
        cause=cause_words(causes) if verdict == "fail" else None,
        widths=plan.widths,
        seeds=seeds,
        steps=plan.steps,
        lr=plan.base.optimizer.lr,
        because=because,
        causes=causes,
    )


def skipped(plan: Design, finding: Finding = SKIPPED_BY_JOB) -> CoordinateReport:
    """The report of a check that is skipped."""
    because = CheckReason(finding)
    return CoordinateReport(
        verdict="skipped",
        reason=words(because),
        layers=(),
        cause=None,
        widths=plan.widths,
        seeds=0,
        steps=plan.steps,
        lr=plan.base.optimizer.lr,
        because=because,
    )


def check_verdict(
    plan: Design, layers: Sequence[LayerSlope], seeds: int, diverged: Sequence[int]
) -> tuple[CoordinateVerdict, Finding]:
    """The verdict and its finding."""
    if len(plan.widths) < FEWEST_WIDTHS:
        return "unresolved", TooFewWidths(widths=plan.widths, needed=FEWEST_WIDTHS)
    if diverged:
        return "unresolved", DivergedAtWidths(
            widths=tuple(sorted(set(diverged))), steps=plan.steps, lr=plan.base.optimizer.lr
        )
    if not layers:
        return "unresolved", NothingMoved()
    failed = [layer for layer in layers if layer.verdict == "fail"]
    if failed:
        # Own updates and the head's come first: they name the wrong layers, the others
        # consequences.
        worst = sorted(
            failed,
            key=lambda layer: (layer.part != "own" and layer.layer != LOGITS, -abs(layer.slope)),
        )[:NAMED]
        return "fail", BeyondGate(worst=tuple(worst), failed=len(failed), gate=GATE)
    if all(layer.verdict == "pass" for layer in layers):
        narrowest, *_, widest = plan.widths
        return "pass", WithinGate(
            narrowest=narrowest, widest=widest, steepest=layers[0], layers=len(layers), gate=GATE
        )
    return "unresolved", AcrossGate(seeds=seeds, steepest=layers[0], gate=GATE)


# The whole check


@dataclass(frozen=True)
class CheckProgress:
    """The progress of a check: its trials, its missing runs, and its report once none is
    missing.
    """

    trials: tuple[Trial, ...]
    missing: tuple[TrialSpec, ...]
    report: CoordinateReport | None

    @property
    def failed(self) -> bool:
        """Whether the check fails, so that the ladder should end unless it is known to be
        unsound.
        """
        return self.report is not None and self.report.verdict == "fail"


def step(plan: Design, done: Mapping[str, Trial]) -> CheckProgress:
    """The check folded over completed trials by digest; an unresolved verdict after the first seeds
    gets a few more.

    Nothing is run where there are too few widths for a verdict.
    """
    if not plan.seeds:
        return CheckProgress((), (), skipped(plan, TooCostly()))
    if len(plan.widths) < FEWEST_WIDTHS:
        return CheckProgress((), (), assess(plan, ()))
    for seeds in dict.fromkeys((plan.seeds, plan.most_seeds)):
        specs = plan.runs[: seeds * len(plan.widths)]
        trials = tuple(done[spec.digest] for spec in specs if spec.digest in done)
        if missing := tuple(spec for spec in specs if spec.digest not in done):
            return CheckProgress(trials, missing, None)
        report = assess(plan, trials)
        if report.verdict != "unresolved" or not report.layers:
            break
    return CheckProgress(trials, (), report)


def carry_out(
    plan: Design,
    train: Callable[[TrialSpec], Iterable[Measurement]],
    tell: Callable[[TrialSpec], None] = lambda spec: None,
) -> CoordinateReport:
    """Run a check in this process; `tell` is called with each run before it begins."""
    done = dict[str, Trial]()
    while missing := (now := step(plan, done)).missing:
        for spec in missing:
            tell(spec)
            done[spec.digest] = completed(spec, list(train(spec)))
    assert now.report is not None, "a check without missing runs has a report"
    return now.report


def check(base: TrialSpec, target_width: int) -> CoordinateReport:
    """The check of a run at its base width: `check(spec, target_width=1024).verdict`."""
    return carry_out(design(base, target_width), train_one)
