"""`KIND`, the `Kind` value of compute-time studies."""

from collections.abc import Sequence

from telescope.studies.compute_time.analysis import Analysis
from telescope.studies.compute_time.answer import answer
from telescope.studies.compute_time.bill import BatchForecast, preview
from telescope.studies.compute_time.checks import problems
from telescope.studies.compute_time.fold import progress
from telescope.studies.compute_time.question import Question
from telescope.studies.compute_time.report import OptimizerComparison
from telescope.studies.kind import Kind, Plan
from telescope.trials.outcome import Trial


def plan(question: Question, trials: Sequence[Trial]) -> Plan:
    missing = progress(question, trials).missing
    return Plan(missing, done=not missing)


KIND = Kind(
    name="compute_time",
    question=Question,
    report=OptimizerComparison,
    preview=BatchForecast,
    problems=problems,
    plan=plan,
    answer=answer,
    forecast=preview,
    expected_flops=lambda forecast: forecast.flops.expected,
    analyse=Analysis.of,
    reads_curves=True,
)
