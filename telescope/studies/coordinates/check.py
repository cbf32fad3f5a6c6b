"""The coordinate check, which tests a parametrisation: as width grows, the effects of updates must
keep about the same size.

This is the check of G. Yang et al. (arXiv 2203.03466, D.1), but the verdict is computed instead of
read off a plot. Models of several widths take a few steps on one fixed batch. In each layer, the
RMS of two changes is measured (`telescope.train.probes`): the change of the layer's output since
the start, and the part of this change that is due to the layer's own update. The change of the
logits is measured, too. `slopes` fits a power of width to each change. The exponent of this power
is the *slope*. A slope lies *beyond the gate* if its absolute value is larger than GATE.

- **pass**: no slope lies beyond the gate.
- **fail**: the whole 90 % interval of some slope lies beyond the gate, on one side. The slope over
  the widest doubling alone lies beyond the gate on the same side. This second condition rules out
  effects that only narrow models show.
- **unresolved**: some slope lies beyond the gate, but not clearly enough for *fail*. The verdict is
  also unresolved if there are fewer than four widths, if a run diverged, or if there is no change
  that was measured in every run.
- **skipped**: the job skips the check, or even the smallest check would exceed the budget.

The check cannot see effects that need weight decay or many steps. The late check looks for such
effects (`telescope.studies.telescoping.answer.late`).

Parts: `CoordinateReport` · `assess`, which makes the report · `step`, which lists the runs that can
start now · `carry_out` and `check`, which run a whole check in this process. The module `design`
chooses the runs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from telescope.studies.coordinates.causes import Exponent, misfits
from telescope.studies.coordinates.design import FEWEST_WIDTHS, Design, design
from telescope.studies.coordinates.reasons import (
    AcrossGate,
    BeyondGate,
    CheckReason,
    DivergedAtWidths,
    Finding,
    NothingMoved,
    SkippedByJob,
    TooCostly,
    TooFewWidths,
    WithinGate,
)
from telescope.studies.coordinates.slopes import GATE, CoordinateVerdict, LayerSlope, slopes
from telescope.studies.coordinates.wording import cause_words, words
from telescope.train.loop import train_one
from telescope.train.probes import LOGITS
from telescope.trials.outcome import Measurement, Trial, completed
from telescope.trials.spec import TrialSpec

MOST_NAMED = 3  # largest number of failing slopes that a reason names
SKIPPED_BY_JOB = SkippedByJob()


@dataclass(frozen=True)
class CoordinateReport:
    """The report of a coordinate check."""

    verdict: CoordinateVerdict
    reason: str
    layers: tuple[LayerSlope, ...]  # the slopes, the steepest first
    cause: str | None  # the likely cause of a failure, as text; None unless the check fails
    widths: tuple[int, ...]
    seeds: int
    steps: int
    lr: float
    gate: float = GATE
    because: CheckReason | None = None  # the reason as a value; None in older reports
    causes: tuple[Exponent, ...] = ()  # the scaling rules that do not fit, if the check fails

    @property
    def failed(self) -> tuple[LayerSlope, ...]:
        """The slopes that failed."""
        return tuple(layer for layer in self.layers if layer.verdict == "fail")


# The verdict


def assess(plan: Design, trials: Sequence[Trial]) -> CoordinateReport:
    """The report on the trials of a check. All widths must have trials with the same seeds."""
    seeds = len({trial.spec.seed for trial in trials})
    diverged = [trial.spec.model.width for trial in trials if trial.diverged]
    layers = () if diverged or not trials else slopes(plan.widths, trials)
    verdict, finding = check_verdict(plan, layers, seeds, diverged)
    because = CheckReason(finding, plan.reduced if trials else None)
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
    """The report of a check that is not run. `finding` is the reason."""
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
    """The verdict and the reason for it. `diverged` has the width of each run that diverged."""
    if len(plan.widths) < FEWEST_WIDTHS:
        return "unresolved", TooFewWidths(widths=plan.widths, needed=FEWEST_WIDTHS)
    if diverged:
        widths = tuple(sorted(set(diverged)))
        lr = plan.base.optimizer.lr
        return "unresolved", DivergedAtWidths(widths=widths, steps=plan.steps, lr=lr)
    if not layers:
        return "unresolved", NothingMoved()
    failed = [layer for layer in layers if layer.verdict == "fail"]
    if failed:
        # The logits and the layers whose own update is wrong come first. A wrong change of any
        # other output may be only a consequence of a wrong update in an earlier layer.
        failed.sort(
            key=lambda layer: (layer.part != "own" and layer.layer != LOGITS, -abs(layer.slope))
        )
        return "fail", BeyondGate(worst=tuple(failed[:MOST_NAMED]), failed=len(failed), gate=GATE)
    if all(layer.verdict == "pass" for layer in layers):
        narrowest, *_, widest = plan.widths
        return "pass", WithinGate(
            narrowest=narrowest, widest=widest, steepest=layers[0], layers=len(layers), gate=GATE
        )
    return "unresolved", AcrossGate(seeds=seeds, steepest=layers[0], gate=GATE)


# The whole check


@dataclass(frozen=True)
class CheckProgress:
    """The progress of a check: completed trials, runs that can start now, and the report."""

    trials: tuple[Trial, ...]
    missing: tuple[TrialSpec, ...]
    report: CoordinateReport | None  # None while runs are missing

    @property
    def failed(self) -> bool:
        """True if the check has failed."""
        return self.report is not None and self.report.verdict == "fail"


def step(plan: Design, done: Mapping[str, Trial]) -> CheckProgress:
    """The progress of a check. `done` contains the completed trials, keyed by digest.

    If the slopes leave the verdict unresolved after the first seeds, more seeds are run, as far as
    the budget allows. If the budget allows no check, or if there are too few widths for a verdict,
    nothing is run.
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
    """Run a check in this process. `tell` is called with each run before the run begins."""
    done = dict[str, Trial]()
    while missing := (progress := step(plan, done)).missing:
        for spec in missing:
            tell(spec)
            done[spec.digest] = completed(spec, list(train(spec)))
    assert progress.report is not None, "a check without missing runs has a report"
    return progress.report


def check(base: TrialSpec, target_width: int) -> CoordinateReport:
    """Check the parametrisation of `base`, a trial at the base width, in this process.

    The check trains models at the base width and at up to three doublings of this width, up to
    `target_width`. If these widths are too few, the check also trains narrower models, if they can
    be built. For example: `check(spec, target_width=1024).verdict`.
    """
    return carry_out(design(base, target_width), train_one)
