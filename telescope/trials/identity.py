"""Canonical JSON and digests: the identity of a specification."""

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
"""Fields that were added after digests were first stored: (part of the spec, name, default). The
digest leaves such a field out if it has its default."""


def canonical_json(value: Any) -> str:
    """The canonical JSON text of a frozen value: keys sorted, no spaces, floats as their shortest
    repr."""
    return _text(plain_json(value))


def plain_json(value: Any) -> Any:
    """A frozen value as the dicts, lists, strings and numbers of JSON."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def digest_of(plain: Any) -> str:
    """The first 128 bits, in hex, of the SHA-256 of the canonical text of plain JSON."""
    return hashlib.sha256(_text(plain).encode()).hexdigest()[:32]


def _text(plain: Any) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
