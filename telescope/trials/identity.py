"""Canonical JSON and digests: what makes two specifications the same trial."""

import hashlib
import json
from typing import Any

from pydantic import TypeAdapter

LATER: tuple[tuple[str, str, Any], ...] = (
    ("horizon", "stop_below_loss", None),
    ("", "branch", None),
    ("", "kept_steps", []),
    ("optimizer", "muon_split", "whole"),
    ("model", "attention", "heads"),
    ("model", "kv_rank_ratio", 0.25),
    ("model", "rotary_dim", None),
    ("model", "norm", "rms"),
    ("model", "positions", "rotary"),
    ("optimizer", "qk_clip", None),
    ("optimizer", "qk_clip_alpha", 0.5),
    ("optimizer", "measure_max_logit", False),
)
"""Fields that were added when digests were in databases: part of the spec, name, default."""


def canonical_json(value: Any) -> str:
    """The one JSON text of a frozen value: keys sorted, no spaces, floats as their shortest repr."""
    return _text(plain_json(value))


def plain_json(value: Any) -> Any:
    """A frozen value as JSON's own types."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def digest_of(plain: Any) -> str:
    """128 bits of the SHA-256 of the canonical text of plain JSON, in hex."""
    return hashlib.sha256(_text(plain).encode()).hexdigest()[:32]


def _text(plain: Any) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
