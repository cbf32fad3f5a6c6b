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
    return _text(_plain(value))


def digest(value: Any) -> str:
    """128 bits of the SHA-256 of the canonical JSON, in hex."""
    return _hashed(_plain(value))


def _plain(value: Any) -> Any:
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def _text(plain: Any) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _hashed(plain: Any) -> str:
    return hashlib.sha256(_text(plain).encode()).hexdigest()[:32]
