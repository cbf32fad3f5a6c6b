"""Architectures that have a name.

A job may write `model: {preset: llama-like, ...}` instead of field after field. The preset fills in
the fields that the job leaves out; a field that the job sets wins. Training depends on the fields
alone: a trial does not know whether a preset filled them in, and its digest is the same either way.
The job sets the sizes.

Presets are *like* their namesakes within what `telescope.trials.model.Architecture` can express: no
biases, and attention over the whole context.

Parts: `PRESETS`, the table · `Preset`, a model block that may name one · `without_preset`, the
fields that such a block sets beside its preset.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from telescope.errors import closest_name_hint
from telescope.trials.model import Architecture
from telescope.trials.types import STRICT, DescribesInherited

PresetName = Literal["gemma-like", "llama-like", "gpt2-like", "mla"]

LLAMA = Architecture(
    mlp="gated", mlp_ratio=3.5, norm="rms", positions="rotary", tied_embeddings=False
)

PRESETS: Mapping[PresetName, Architecture] = {
    # Gemma 3
    "gemma-like": Architecture(
        mlp="geglu",
        mlp_ratio=4.0,
        norm="rms",
        positions="rotary",
        tied_embeddings=True,
        qk_norm=True,
    ),
    "llama-like": LLAMA,  # Llama 3; the job sets query_heads_per_kv
    "gpt2-like": Architecture(
        mlp="gelu", mlp_ratio=4.0, norm="layer", positions="learned", tied_embeddings=True
    ),
    # DeepSeek-V2-Lite without its experts: Llama with another attention
    "mla": replace(LLAMA, attention="mla"),
}


def checked_preset_name(name: object) -> object:
    """The name unchanged. Raises ValueError, with the closest known name, if no preset has it."""
    if isinstance(name, str) and name not in PRESETS:
        raise ValueError(
            f"there is no such preset{closest_name_hint(name, [*get_args(PresetName)])}"
        )
    return name


def with_preset(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a model block and those that its preset adds; unchanged if the block names no
    preset or an unknown one."""
    return preset_values(given) | dict(given)


def without_preset(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a model block that its preset, or else the defaults, would not set: those that
    stay under another preset."""
    usual = preset_values(given) or values(Architecture())
    return {
        name: value
        for name, value in given.items()
        if name != "preset" and (name not in usual or usual[name] != value)
    }


def preset_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of the preset that a model block names; empty if it names none."""
    name: Any = given.get("preset")
    return values(PRESETS[name]) if name in get_args(PresetName) else {}


def values(architecture: Architecture) -> dict[str, Any]:
    return {field.name: getattr(architecture, field.name) for field in fields(Architecture)}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Preset(Architecture, DescribesInherited):
    """A model block that may name a preset; all its fields are filled in."""

    preset: Annotated[PresetName, BeforeValidator(checked_preset_name)] | None = None
    """A named architecture that sets every field of the architecture not given here."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        if isinstance(given, ArgsKwargs):
            return ArgsKwargs(given.args, with_preset(given.kwargs or {}))
        return with_preset(given) if isinstance(given, dict) else given
