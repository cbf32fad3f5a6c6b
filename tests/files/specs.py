"""Print specifications of trials of every kind, each with its digest by this code.

    PYTHONPATH=CHECKOUT python specs.py     in a folder with the corpus `adr` registered

Planned by studies where possible, and changed field by field where a field needs a whole study.
Nothing is imported by a name that a change of layout could move.
"""

import copy
import json
import sys
from typing import Any

from pydantic import TypeAdapter

from telescope.studies import registry

MODEL = {"base_width": 16, "calibration_width": 32, "target_width": 64, "depth": 2, "head_dim": 8}
DATA = {"corpus": "adr", "context": 32}
HORIZON = {"steps": 40, "batch_tokens": 128, "evaluation_tokens": 512}
SEARCH = {
    "lr": {"low": 0.01, "high": 0.2, "points": 4},
    "weight_decay": {"low": 0.01, "high": 1.0, "points": 3},
}
LLAMA = {
    "family": "module",
    "factory": "huggingface:llama",
    "base_width": 32,
    "calibration_width": 64,
    "target_width": 128,
}
GPT2 = LLAMA | {"factory": "huggingface:gpt2", "splits": {"*.c_attn.weight": [1, 1, 1]}}


def telescope(
    model: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """A study with some fields of its own."""
    blocks = {
        "model": MODEL | (model or {}),
        "data": DATA | (data or {}),
        "horizon": HORIZON,
        "search": SEARCH,
    }
    return {"kind": "telescope", "name": "specs", **blocks, **fields}


def compute_time(**fields: Any) -> dict[str, Any]:
    """A comparison of optimizers with some fields of its own."""
    model = {"width": 16, "depth": 1, "head_dim": 8}
    runs = {"tokens": 8_000, "evaluation_tokens": 512, "lengths": 3}
    search = {"tuning": {"lr": {"low": 0.02, "high": 0.08, "points": 3}}}
    return (
        {
            "kind": "compute_time",
            "name": "specs",
            "model": model,
            "data": DATA,
            "batch_tokens": [64, 128],
            "runs": runs,
        }
        | search
        | fields
    )


GIVEN = [
    {"optimizer": name, "batch_tokens": batch, "lr": 0.03}
    for name in ("muon", "adamw")
    for batch in (64, 128)
]
RUNS = {"tokens": 8_000, "evaluation_tokens": 512, "lengths": 3}
STUDIES = (
    telescope(),
    telescope(coordinates="skip"),
    telescope(optimizer="adamw"),
    telescope(optimizer="adamw", coordinates="skip"),
    telescope(optimizer=["muon", "adamw"], schedule="paper", coordinates="skip", seeds=2),
    telescope(
        parametrisation="mup-paper",
        optimizer_options={"lr_convention": "absolute"},
        coordinates="skip",
    ),
    telescope(parametrisation="standard", optimizer="adamw"),
    telescope({"preset": "mla", "kv_rank_ratio": 0.5}, coordinates="skip"),
    telescope({"preset": "gpt2-like"}),
    telescope({"preset": "gemma-like"}, coordinates="skip"),
    telescope({"preset": "llama-like", "query_heads_per_kv": 2}, coordinates="skip"),
    telescope({"target_depth": 4}, coordinates="skip"),
    telescope(optimizer_options={"qk_clip": 100, "qk_clip_alpha": 0.25}, coordinates="skip"),
    telescope(
        optimizer_options={"measure_max_logit": True, "muon_split": "heads"}, coordinates="skip"
    ),
    telescope(
        optimizer_options={"update_scale": "rms_match", "muon_lr_rule": "constant"},
        force_pairing=True,
        coordinates="skip",
    ),
    telescope(data={"corpus": {"adr": 3, "python-docs": 1}}, coordinates="skip"),
    telescope(data={"tokenizer": "bpe-300", "validation_fraction": 0.2}, coordinates="skip"),
    telescope(
        horizon=HORIZON | {"micro_batch_tokens": 64, "decay": "cosine", "final_lr_fraction": 0.1},
        coordinates="skip",
    ),
    telescope(
        horizon=HORIZON
        | {"decay": "wsd", "decay_fraction": 0.4, "evaluate_every": 10, "record_every": 5},
        coordinates="skip",
    ),
    telescope(
        sweep_over={"model": [{"name": "plain"}, {"name": "tied", "tied_embeddings": True}]},
        coordinates="skip",
    ),
    telescope(
        sweep_over={"data": [{"name": "log"}, {"name": "docs", "corpus": "python-docs"}]},
        coordinates="skip",
    ),
    telescope(
        search=SEARCH | {"adamw_lr_ratio": {"low": 0.25, "high": 1.0, "points": 3}},
        coordinates="skip",
    ),
    telescope() | {"model": LLAMA},
    telescope(optimizer="adamw") | {"model": GPT2},
    compute_time(),
    compute_time(tuning=None, given=GIVEN, runs=RUNS | {"reading": "constant"}),
    compute_time(tuning=None, given=GIVEN, runs=RUNS | {"reading": "cooldown"}),
    compute_time(
        tuning=None, given=GIVEN, runs=RUNS | {"reading": "full", "micro_batch_tokens": 64}
    ),
)
TRUNK = "0123456789abcdef0123456789abcdef"
CHANGES: tuple[dict[str, Any], ...] = (
    {"seed": 7},
    {"seed": 2**40},
    {"measure": "time"},
    {"measure": "coordinates", "horizon.steps": 4},
    {"branch": {"trunk": TRUNK, "step": 10}},
    {"kept_steps": [10, 20]},
    {"branch": {"trunk": TRUNK, "step": 10}, "kept_steps": [20, 30], "horizon.decay": "wsd"},
    {"horizon.evaluate_every": 10, "horizon.stop_below_loss": 2.5},
    {
        "optimizer.newton_schulz_dtype": "float32",
        "optimizer.newton_schulz_steps": 7,
        "optimizer.nesterov": False,
    },
    {"optimizer.weight_decay_rule": "fixed_tokens", "optimizer.init_scale": 0.5},
    {"optimizer.lr": 1e-5, "optimizer.weight_decay": 0.0, "optimizer.eps": 1e-12},
    {"model.base_depth": 1, "model.depth_exponent": 0.5, "model.attention_scale": "inverse"},
    {"model.head_form": "rescaled", "model.qk_norm": True, "model.rope_base": 500_000.0},
    {
        "model.norm": "layer",
        "model.positions": "learned",
        "model.mlp": "gelu",
        "model.tied_embeddings": True,
    },
    {"model.attention": "mla", "model.rotary_dim": 4, "model.mlp": "relu2", "model.mlp_ratio": 2.5},
    {"data.content": "", "data.vocab_size": 0},
    {"data.content": "", "data.corpus": {"python-stdlib": 7.0, "python-docs": 3.0}},
    {"data.corpus": "/somewhere/else"},
    {"horizon.warmup_fraction": 0.0, "horizon.decay": "constant"},
)


def changed(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The document with other values at some dotted paths."""
    found = copy.deepcopy(document)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = found
        for parent in parents:
            place = place[parent]
        place[last] = value
    return found


def main() -> None:
    """All of them as one JSON list."""
    planned = []
    for document in STUDIES:
        start = (
            registry.resolved(
                registry.parse({key: value for key, value in document.items() if value is not None})
            )
            .plan([])
            .start
        )
        planned += list(dict.fromkeys((start[0], start[-1])))
    adapter = TypeAdapter(type(planned[0]))
    base = adapter.dump_python(planned[2], mode="json")
    specs = planned + [adapter.validate_python(changed(base, changes)) for changes in CHANGES]
    json.dump(
        [{"digest": spec.digest, "spec": adapter.dump_python(spec, mode="json")} for spec in specs],
        sys.stdout,
    )


if __name__ == "__main__":
    main()
