"""Canonical JSON of specifications. The digest of this JSON identifies a specification."""

import hashlib
import json
from typing import Any

from pydantic import TypeAdapter

LATER_FIELDS: tuple[tuple[str, str, Any], ...] = (
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
    ("horizon", "sustained_evaluations", None),
    ("horizon", "stop_when_sustained", False),
    ("", "softmax", "softmax"),
    ("model", "dropout", 0.0),
    ("model", "initial_values", "scaled"),
)
"""Fields that were added after digests were first stored, each as (part of the spec, name,
default). The part is empty for a field of the spec itself. `TrialSpec.digest` omits such a field if
its value is the default, so older digests stay valid."""


def canonical_json(value: Any) -> str:
    """The canonical JSON text of a specification, or of a part of one. Keys are sorted, and no
    spaces separate the values."""
    return _text(plain_json(value))


def plain_json(value: Any) -> Any:
    """A specification, or a part of one, as dicts, lists, strings, numbers, booleans and None."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def digest_of(plain: Any) -> str:
    """The digest of plain JSON values: the first 128 bits of the SHA-256 of their canonical text,
    in hex."""
    return hashlib.sha256(_text(plain).encode()).hexdigest()[:32]


def _text(plain: Any) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
