"""The client reads the documents of older services, which have fewer fields."""

from pathlib import Path
from typing import Any

import pytest

from telescope.client.pages import as_type
from telescope.studies.registry import report_document
from telescope.studies.telescoping.judge.formats import read_csv
from telescope.studies.telescoping.judge.judge import Judgement, judge

EXAMPLE = Path(__file__).parents[3] / "api" / "examples" / "sweep.csv"


@pytest.fixture(scope="module")
def judgement() -> dict[str, Any]:
    return report_document(judge(read_csv(EXAMPLE.read_bytes())))


def test_a_judgement_without_values_of_its_reasons_is_read(judgement: dict[str, Any]) -> None:
    older = {name: value for name, value in judgement.items() if name != "because"}
    levels = [
        {name: value for name, value in level.items() if name not in ("because", "edges")}
        for level in older["levels"]
    ]
    read = as_type(Judgement, older | {"levels": levels})
    assert read.reason == judgement["reason"]
    assert [level.reason for level in read.levels] == [
        level["reason"] for level in judgement["levels"]
    ]
