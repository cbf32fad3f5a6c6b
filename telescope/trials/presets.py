"""Presets: architectures with names.

A job may write `model: {preset: llama-like, ...}` instead of all fields of the architecture. The
preset then fills in the fields that the job leaves out. A field that the job sets takes precedence.
Presets except `grokking` leave `depth` and `head_dim` at their defaults. A trial's identity does
not depend on whether a field was set by the job or by a preset.

A preset resembles a published model, which a comment in PRESETS names, but differs in details. For
example, presets have no biases, and attend to the whole context.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from telescope.errors import closest_name_hint
from telescope.trials.architecture import ONLY_WITH, Architecture
from telescope.trials.types import STRICT, DescribesInherited

PresetName = Literal["gemma-like", "llama-like", "gpt2-like", "mla", "grokking"]

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
    # Llama 3, but query_heads_per_kv and rope_base stay at their defaults
    "llama-like": LLAMA,
    # GPT-2
    "gpt2-like": Architecture(
        mlp="gelu", mlp_ratio=4.0, norm="layer", positions="learned", tied_embeddings=True
    ),
    # DeepSeek-V2-Lite without its experts: like Llama, but with latent attention
    "mla": replace(LLAMA, attention="mla"),
    # the public code for arXiv 2504.16041 (atveit/torch_grokking); at width 128, it has one head
    "grokking": Architecture(depth=2, head_dim=128, mlp="gated", mlp_ratio=4.0, rope_base=1e6),
}


def checked_preset_name(name: object) -> object:
    """Return `name` unchanged. Raises ValueError if `name` is a string but no preset has this
    name."""
    if isinstance(name, str) and name not in PRESETS:
        hint = closest_name_hint(name, [*get_args(PresetName)])
        raise ValueError(f"there is no such preset{hint}")
    return name


def with_preset(section: Mapping[str, Any]) -> dict[str, Any]:
    """The `model` section of a job, with the fields that its preset fills in. A section without a
    known preset is copied unchanged."""
    return preset_values(section) | dict(section)


def without_preset(section: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `model` section that must be kept when its preset changes. These are the
    fields that no preset has, and the fields whose values differ from the preset's values. If the
    section names no known preset, values are compared with the defaults instead."""
    defaults = preset_values(section) or values(Architecture())
    return {
        name: value
        for name, value in section.items()
        if name != "preset" and (name not in defaults or defaults[name] != value)
    }


def preset_values(section: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all fields of the preset that a `model` section names. Empty if the section
    does not name a known preset. If the section makes a field meaningless, the field has its
    default instead of the preset's value. For example, `positions: learned` makes `rope_base`
    meaningless."""
    name: Any = section.get("preset")
    if name not in get_args(PresetName):
        return {}
    preset, defaults = values(PRESETS[name]), values(Architecture())
    for field, other, required in ONLY_WITH:
        if section.get(other, preset[other]) != required:
            preset[field] = defaults[field]
    return preset


def values(architecture: Architecture) -> dict[str, Any]:
    """All fields of an architecture, by name."""
    return {field.name: getattr(architecture, field.name) for field in fields(Architecture)}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Preset(Architecture, DescribesInherited):
    """An architecture that may name a preset."""

    preset: Annotated[PresetName, BeforeValidator(checked_preset_name)] | None = None
    """Name of a preset. Its values fill in the fields of `model` that are not given here."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        if isinstance(values, ArgsKwargs):
            return ArgsKwargs(values.args, with_preset(values.kwargs or {}))
        return with_preset(values) if isinstance(values, dict) else values
