"""Field types that specifications share, and the error of inconsistent fields."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from telescope.errors import Problem

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
OptimizerName = Literal["muon", "adamw"]
OPTIMIZER_TITLES: Mapping[str, str] = {"muon": "Muon", "adamw": "AdamW"}  # names for users
Parametrisation = Literal["mup", "mup-paper", "standard"]
UpdateScale = Literal["spectral_ratio", "spectral_clamped", "rms_match", "none"]
MuonLrRule = Literal["constant", "inverse_sqrt", "inverse"]
AttentionKind = Literal["heads", "mla"]
AttentionScale = Literal["inverse_sqrt", "inverse"]
HeadForm = Literal["multiplier", "rescaled"]
MuonSplit = Literal["whole", "heads"]
InitialValues = Literal["scaled", "torch"]
SoftmaxName = Literal["softmax", "stablemax", "sparsemax"]
RoleName = Literal["embedding", "hidden", "readout", "vector"]
WeightDecayRule = Literal["fixed_tokens", "compute_optimal", "sqrt_width", "constant"]


class Inconsistent(ValueError):
    """The error of a specification whose fields contradict each other. Each Problem names a field
    by its path within the specification."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(f"{problem.field}: {problem.message}" for problem in problems))
        self.problems = problems


def require_none(problems: Iterator[Problem]) -> None:
    """Raise Inconsistent if there are any problems."""
    if found := tuple(problems):
        raise Inconsistent(found)


def _sorted_pairs(mapping: Any) -> Any:
    """The pairs of a mapping, sorted by key, as a hashable tuple. A value that is not a mapping is
    returned unchanged."""
    if not isinstance(mapping, Mapping):
        return mapping  # pydantic validates it
    pairs = (
        (str(key), tuple(value) if isinstance(value, list) else value)
        for key, value in mapping.items()
    )
    return tuple(sorted(pairs))


def pairs_with(value_type: Any) -> tuple[Any, ...]:
    """Annotations for a field that gives values to patterns of names. In JSON and YAML, the field
    is a mapping from patterns to values of `value_type`. In a specification, the field is a tuple
    of (pattern, value), sorted by pattern."""
    schema = {"type": "object", "additionalProperties": TypeAdapter(value_type).json_schema()}
    empty_default = Field(json_schema_extra={"default": {}})
    return (
        BeforeValidator(_sorted_pairs),
        PlainSerializer(dict, return_type=dict),
        WithJsonSchema(schema),
        empty_default,
    )


class DescribesInherited:
    """Base class of dataclasses whose JSON schema includes the descriptions of inherited fields.
    By default, pydantic includes only those of fields in the class's own body."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core)
        properties = handler.resolve_ref_schema(schema)["properties"]
        for base in cls.__mro__:
            for name, field in getattr(base, "__pydantic_fields__", {}).items():
                if field.description and name in properties:
                    properties[name].setdefault("description", field.description)
        return schema


# relative sizes of the pieces of a fused matrix, such as (4, 1, 1)
PieceSizes = Annotated[tuple[Count, ...], Field(min_length=2)]
