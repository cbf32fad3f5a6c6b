"""Which architectures have names?

A job may say `model: {preset: llama-like, ...}` instead of field after field. The preset gives what the job leaves out; a field that the
job gives wins. What is trained follows from the fields alone: a trial does not know whether a preset filled them in, and its digest is
the same either way. Sizes are the job's.

Presets are *like* their namesakes in what `telescope.trials.model.Architecture` can say: no biases, and attention over the whole context.

Parts: `PRESETS`, the table · `Preset`, a model block that may name one · `without_preset`, what such a block says beside its preset.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from telescope.errors import nearest
from telescope.trials.model import Architecture
from telescope.trials.types import STRICT

PresetName = Literal["gemma-like", "llama-like", "gpt2-like", "mla"]

LLAMA = Architecture(mlp="gated", mlp_ratio=3.5, norm="rms", positions="rotary", tied_embeddings=False)

PRESETS: Mapping[PresetName, Architecture] = {
    "gemma-like": Architecture(mlp="geglu", mlp_ratio=4.0, norm="rms", positions="rotary", tied_embeddings=True, qk_norm=True),  # Gemma 3
    "llama-like": LLAMA,  # Llama 3; query_heads_per_kv as the job likes
    "gpt2-like": Architecture(mlp="gelu", mlp_ratio=4.0, norm="layer", positions="learned", tied_embeddings=True),
    "mla": replace(LLAMA, attention="mla"),  # DeepSeek-V2-Lite without its experts: Llama but for its attention
}


def known(name: object) -> object:
    """The name, or ValueError with the nearest one."""
    if isinstance(name, str) and name not in PRESETS:
        raise ValueError(f"there is no such preset{nearest(name, [*get_args(PresetName)])}")
    return name


def filled(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a model block with those that its preset adds; as they are where it names none, or none that is known."""
    return preset_values(given) | dict(given)


def without_preset(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a model block that its preset, or else the defaults, would not give: what stays as it is under another preset."""
    usual = preset_values(given) or values(Architecture())
    return {name: value for name, value in given.items() if name != "preset" and (name not in usual or usual[name] != value)}


def preset_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of the preset that a model block names, if it does."""
    name: Any = given.get("preset")
    return values(PRESETS[name]) if name in get_args(PresetName) else {}


def values(architecture: Architecture) -> dict[str, Any]:
    """Its fields."""
    return {field.name: getattr(architecture, field.name) for field in fields(Architecture)}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Preset(Architecture):
    """A model block that may name a preset; all its fields are filled in."""

    preset: Annotated[PresetName, BeforeValidator(known)] | None = None
    """A named architecture (telescope.trials.presets) for all that is not said here."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        if isinstance(given, ArgsKwargs):
            return ArgsKwargs(given.args, filled(given.kwargs or {}))
        return filled(given) if isinstance(given, dict) else given
