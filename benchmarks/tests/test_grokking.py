"""The jobs of the grokking benchmark are accepted, and have the cells of the paper."""

import argparse
from pathlib import Path
from typing import Any, get_args

from benchmarks.grokking import cell_line, document
from telescope.studies import registry
from telescope.studies.grokking.fold import progress
from telescope.studies.grokking.question import Question
from telescope.trials.types import SoftmaxName

ARGUMENTS = argparse.Namespace(
    modulus=7,
    bits=4,
    width=16,
    softmax=get_args(SoftmaxName),
    epochs=8,
    evaluate_epochs=2,
    points=2,
    paper_seeds=10,
    tuned_seeds=8,
    home=Path("unused"),
)


def study_of(protocol: str) -> Any:
    return registry.resolved(registry.parse(document(protocol, ARGUMENTS)))


def question_of(study: Any) -> Question:
    assert isinstance(study.question, Question)
    return study.question


def test_the_papers_protocol_has_21_cells_with_10_pairs_each() -> None:
    study = progress(question_of(study_of("paper")), [])
    assert len(study.cells) == 21
    assert len(study.missing) == 420


def test_the_tuned_protocol_searches_the_same_rates_and_decays_for_both_optimizers() -> None:
    study = progress(question_of(study_of("tuned")), [])
    searches = [arm.search for cell in study.cells for arm in cell.arms]
    assert len(study.cells) == 3
    assert [len(search.missing) for search in searches if search] == [18, 6] * 3


def test_a_cell_without_runs_has_a_line() -> None:
    report = study_of("paper").report([])
    lines = [cell_line(cell) for cell in report.cells]
    assert len({line.count("|") for line in lines}) == 1
    assert all(line.endswith("pending |") for line in lines)
