"""Every code of a reason, advice, doubt or end has a place on the page about verdicts."""

import dataclasses
import inspect
from collections.abc import Iterator
from enum import StrEnum
from types import ModuleType
from typing import get_args

import pytest

from telescope.studies import endings, kind
from telescope.studies.compute_time import reasons as of_compute_time
from telescope.studies.coordinates import reasons as of_coordinates
from telescope.studies.grokking import reasons as of_grokking
from telescope.studies.telescoping import late_evidence
from telescope.studies.telescoping import reasons as of_telescoping
from tests.docs.blocks import ROOT

MODULES = (
    of_telescoping,
    of_compute_time,
    of_grokking,
    of_coordinates,
    late_evidence,
    endings,
    kind,
)
PAGE = (ROOT / "docs" / "verdicts.md").read_text()


def codes(module: ModuleType) -> Iterator[str]:
    """The values of a module's enumerations, and the codes of its dataclasses."""
    for value in vars(module).values():
        if inspect.isclass(value) and value.__module__ == module.__name__:
            if issubclass(value, StrEnum):
                yield from value
            if dataclasses.is_dataclass(value):
                yield from (
                    one
                    for one in get_args(value.__annotations__.get("code"))
                    if isinstance(one, str)
                )


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_code_is_explained(module: ModuleType) -> None:
    found = set(codes(module))
    assert found
    assert not {code for code in found if f"`{code}`" not in PAGE}
