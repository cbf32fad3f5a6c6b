"""Constrained number types and names of options that specifications share."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer

from telescope.errors import Problem

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
OptimizerName = Literal["muon", "adamw"]
Parametrisation = Literal["mup", "mup-paper", "standard"]
UpdateScale = Literal["spectral_ratio", "spectral_clamped", "rms_match", "none"]
MuonLrRule = Literal["constant", "inverse_sqrt", "inverse"]
AttentionKind = Literal["heads", "mla"]
AttentionScale = Literal["inverse_sqrt", "inverse"]
HeadForm = Literal["multiplier", "rescaled"]
MuonSplit = Literal["whole", "heads"]
RoleName = Literal["embedding", "hidden", "readout", "vector"]
WeightDecayRule = Literal["fixed_tokens", "compute_optimal", "sqrt_width", "constant"]


def require_none(problems: Iterator[Problem]) -> None:
    """Raise ValueError with the first problem, as pydantic expects; do nothing if there is none."""
    for problem in problems:
        raise ValueError(f"{problem.field}: {problem.message}")


def _pairs(given: Any) -> Any:
    """A mapping as sorted pairs, which can be hashed and do not depend on the order in which it was
    written."""
    return (
        tuple(sorted((str(key), tuple(value) if isinstance(value, list) else value) for key, value in given.items()))
        if isinstance(given, Mapping)
        else given
    )


PAIRS = (BeforeValidator(_pairs), PlainSerializer(dict, return_type=dict))
Parts = Annotated[tuple[Count, ...], Field(min_length=2)]
