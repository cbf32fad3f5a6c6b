"""What fully determines one training run?

A `TrialSpec`: model, optimizer, data, horizon and seed, all frozen and validated, and identified by the digest of its canonical
JSON. Two trials with one digest are one trial, whoever planned them and whenever.

Parts: `Architecture` (what all widths share) and `ModelSpec` (one width) of our own Transformer, `architecture_problems` and
`width_problem` (what cannot be built) · `ModuleArchitecture` and `ModuleSpec` of a user's model, `AnyModel` · `OptimizerSpec` (base,
width-independent values), `clip_problems` · `DataSpec` (with the corpus's content hash, so that the digest covers the text itself) ·
`HorizonSpec` (how long, how batched, which schedule) · `Branch` · `TrialSpec` · `canonical_json`, `digest`, `snap`.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, PlainSerializer, Tag, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from telescope import mixtures
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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Architecture:
    """A decoder-only Transformer without its width: what every level of a ladder shares."""

    family: Literal["transformer"] = "transformer"
    depth: Annotated[int, Field(ge=1, le=256)] = 2
    """Number of blocks."""
    attention: AttentionKind = "heads"
    """Keys and values projected for each head, or, as in DeepSeek's models, drawn from one latent vector per position (multi-head latent
    attention)."""
    head_dim: Annotated[int, Field(ge=2, multiple_of=2)] = 16
    """Size of one attention head, the same at every width; the number of heads grows. Under mla, of its part that is not rotated."""
    kv_rank_ratio: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Under mla: size of the latent per unit of width."""
    rotary_dim: Annotated[int, Field(ge=2, multiple_of=2)] | None = None
    """Under mla: size of the rotated part of queries, and of the one rotated key that all heads share; by default half of head_dim."""
    query_heads_per_kv: Count = 1
    """Query heads that share one key/value head: 1 is multi-head attention, more is grouped-query attention."""
    qk_norm: bool = False
    """RMS-normalise queries and keys per head."""
    norm: Literal["rms", "layer"] = "rms"
    """Norms before each block and the head: RMSNorm, or LayerNorm without biases."""
    mlp: Literal["gated", "geglu", "relu2", "gelu"] = "gated"
    """Feed-forward block: SiLU-gated, GELU-gated, squared ReLU, or GELU."""
    mlp_ratio: Annotated[float, Field(gt=0, le=16)] = 4.0
    """Hidden units of the feed-forward block per unit of width."""
    tied_embeddings: bool = False
    """Use the embedding matrix as the output head too."""
    positions: Literal["rotary", "learned"] = "rotary"
    """Queries and keys rotated by their position, or a learned embedding of each position up to the context."""
    rope_base: Positive = 10_000.0
    attention_scale: AttentionScale = "inverse_sqrt"
    """Factor on attention scores: 1/sqrt(head_dim), or 8/head_dim; the two agree at a head size of 64. Under mla heads are rotary_dim
    larger in this."""
    head_form: HeadForm = "multiplier"
    """Under mup, what shrinks the head as width grows: a forward multiplier, or its own lr (for fused losses)."""
    depth_exponent: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    """CompleteP's alpha: where depth leaves its base, residual branches are multiplied by (depth / base depth)^-alpha."""

    @property
    def rotated_dim(self) -> int:
        """Entries of a head's query and key that positions rotate."""
        if self.positions == "learned":
            return 0
        return self.head_dim if self.attention == "heads" else self.rotary_dim or self.head_dim // 2

    @property
    def score_dim(self) -> int:
        """Entries of a head's query and key, over which an attention score is summed."""
        return self.head_dim + (self.rotated_dim if self.attention == "mla" else 0)

    @property
    def gated(self) -> bool:
        """Whether the feed-forward block has a gate, a matrix more."""
        return self.mlp in ("gated", "geglu")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelSpec(Architecture):
    """One Transformer: an architecture at a width, and the base width that its muP factors are relative to."""

    width: Count
    base_width: Count
    base_depth: Count | None = None
    """The depth that depth factors are relative to; by default this model's own, and all of them are 1."""

    @model_validator(mode="after")
    def _divisible(self) -> "ModelSpec":
        if problem := width_problem(self, self.width) or width_problem(self, self.base_width):
            raise ValueError(problem)
        _require_none(architecture_problems(self))
        return self

    @property
    def multiplier(self) -> float:
        """m = width / base width, the variable of every muP rule."""
        return self.width / self.base_width

    @property
    def depth_ratio(self) -> float:
        """L / L0, the variable of the depth rule."""
        return self.depth / (self.base_depth or self.depth)

    @property
    def heads(self) -> int:
        """Query heads."""
        return self.width // self.head_dim

    @property
    def kv_heads(self) -> int:
        """Key/value heads."""
        return self.heads // self.query_heads_per_kv

    @property
    def kv_rank(self) -> int:
        """Size of the latent that keys and values are drawn from."""
        return round(self.kv_rank_ratio * self.width)

    @property
    def hidden(self) -> int:
        """Hidden units of the feed-forward block."""
        return round(self.mlp_ratio * self.width)


def width_problem(model: "Architecture | ModuleArchitecture", width: int) -> str | None:
    """Why `width` cannot be built with this architecture, or None; of a user's model only its factory knows."""
    if isinstance(model, ModuleArchitecture):
        return None
    if width % (model.head_dim * model.query_heads_per_kv):
        unit = model.head_dim * model.query_heads_per_kv
        near = max(unit, round(width / unit) * unit)
        return f"width {width} is not divisible by head_dim x query_heads_per_kv = {unit}; use a multiple of it, such as {near}"
    if not whole(model.mlp_ratio * width):
        return f"mlp_ratio {model.mlp_ratio:g} x width {width} is not a whole number of hidden units"
    if model.attention == "mla" and not whole(model.kv_rank_ratio * width):
        ratio = max(1, round(model.kv_rank_ratio * width)) / width
        return f"kv_rank_ratio {model.kv_rank_ratio:g} x width {width} is not a whole number, the size of the latent; use {ratio:g}"
    return None


def whole(value: float) -> bool:
    """Whether a size is a whole number, but for rounding."""
    return round(value) >= 1 and math.isclose(value, round(value))


ONLY_WITH: tuple[tuple[str, str, str], ...] = (
    ("kv_rank_ratio", "attention", "mla"),
    ("rotary_dim", "attention", "mla"),
    ("rope_base", "positions", "rotary"),
)
"""Fields that say something only where another one has this value."""


def architecture_problems(model: Architecture) -> Iterator[Problem]:
    """Why this architecture cannot be built, whatever its width: fields of `model` that do not go together."""
    for name, of, value in ONLY_WITH:
        given = getattr(model, name)
        if given != Architecture.__dataclass_fields__[name].default and getattr(model, of) != value:
            yield Problem(name, f"has no meaning with {of}: {getattr(model, of)}; leave it out, or use {of}: {value}", given)
    if model.attention == "mla":
        yield from _latent_problems(model)
    if model.tied_embeddings and model.head_form == "rescaled":
        message = "rescaled would shrink tied embeddings on their way in, too; use head_form: multiplier, or untie them"
        yield Problem("head_form", message, model.head_form)


def _latent_problems(model: Architecture) -> Iterator[Problem]:
    """What does not go with mla."""
    if model.query_heads_per_kv > 1:
        message = "under mla all heads draw on one latent, and none share keys; leave it at 1, or use attention: heads"
        yield Problem("query_heads_per_kv", message, model.query_heads_per_kv)
    if model.positions == "learned":
        yield Problem("positions", "mla has a rotated part of its own; use positions: rotary, or attention: heads", model.positions)
    elif model.rotated_dim % 2:
        message = f"half of head_dim {model.head_dim} is odd, and rotation turns pairs; give rotary_dim: {model.rotated_dim + 1}"
        yield Problem("rotary_dim", message, model.rotary_dim)
    if model.qk_norm:
        message = "mla never forms the keys that would be normalised when it generates; leave it out (qk_clip bounds its logits)"
        yield Problem("qk_norm", message, model.qk_norm)


def _require_none(problems: Iterator[Problem]) -> None:
    """ValueError of the first problem, as pydantic wants it."""
    for problem in problems:
        raise ValueError(f"{problem.field}: {problem.message}")


def _pairs(given: Any) -> Any:
    """A mapping as pairs, which can be hashed, in an order that does not depend on how it was written."""
    return (
        tuple(sorted((str(key), tuple(value) if isinstance(value, list) else value) for key, value in given.items()))
        if isinstance(given, Mapping)
        else given
    )


PAIRS = (BeforeValidator(_pairs), PlainSerializer(dict, return_type=dict))
Parts = Annotated[tuple[Count, ...], Field(min_length=2)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModuleArchitecture:
    """A user's own model: the factory that builds it at a width, and what shapes and a forward pass do not tell (telescope.roles)."""

    family: Literal["module"]
    factory: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    """package.module:function, from a width to a torch.nn.Module."""
    output: Literal["logits", "loss"] = "logits"
    """What forward gives: logits of tokens (B, T), as a tensor or in a field `logits`; or, of tokens and targets, the mean loss in nats."""
    roles: Annotated[tuple[tuple[str, RoleName], ...], *PAIRS] = ()
    """Roles of parameters by patterns of their names, such as "*.router.weight": readout; the others are read off the model."""
    splits: Annotated[tuple[tuple[str, Count | Parts], ...], *PAIRS] = ()
    """Hidden matrices that Muon takes in pieces, by patterns: relative sizes of what is fused, or the rows of a head."""
    head_form: HeadForm = "multiplier"
    """Under mup, what shrinks the head as width grows: a forward multiplier, or its own lr and initial values."""
    content: str = ""
    """Hash of the factory's code, filled in by telescope; if given, it must match."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModuleSpec(ModuleArchitecture):
    """A user's model at one width, and the base width that its muP factors are relative to."""

    width: Count
    base_width: Count

    depth_ratio = 1.0  # the depth rule knows no other models than ours
    depth_exponent = 1.0
    depth = 1
    """Blocks, unknown."""

    @property
    def multiplier(self) -> float:
        """m = width / base width, the variable of every muP rule."""
        return self.width / self.base_width


def family(model: Any) -> str:
    """Which kind of model a document or a value describes; ours where it does not say."""
    return str(model.get("family", "transformer") if isinstance(model, Mapping) else getattr(model, "family", "transformer"))


AnyModel = Annotated[Annotated[ModelSpec, Tag("transformer")] | Annotated[ModuleSpec, Tag("module")], Discriminator(family)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimizerOptions:
    """Everything about the optimizers that a study does not sweep."""

    lr_convention: Literal["base_relative", "absolute"] = "base_relative"
    """For mup-paper: width factors relative to the base width, or absolute powers of the width as in the paper's table."""
    update_scale: UpdateScale | None = None
    """Muon's factor on the orthogonalised update; by default the parametrisation's own (see telescope.mup)."""
    muon_lr_rule: MuonLrRule | None = None
    """How Muon's lr falls with m: not at all, as m^-1/2 or as 1/m; by default as belongs to the update scale in this parametrisation."""
    weight_decay_rule: WeightDecayRule | None = None
    """How weight decay changes with m (see telescope.mup); by default the parametrisation's own."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    nesterov: bool = True
    newton_schulz_steps: Annotated[int, Field(ge=1, lt=100)] = 5
    newton_schulz_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    eps: Positive = 1e-8
    init_scale: Positive = 1.0
    """Factor on the initial values of hidden matrices."""
    muon_split: MuonSplit = "whole"
    """Whether Muon takes query, key and value as whole matrices or head by head (mla's rotary parts whole); of a user's model,
    model.splits says it."""
    qk_clip: Positive | None = None
    """Muon's companion in MuonClip, for either optimizer: after each step, heads whose largest attention logit was above this have their
    query and key weights shrunk so that it falls to it (telescope.qk_clip); 100 is usual."""
    qk_clip_alpha: Fraction = 0.5
    """Of that shrinking, the share (in the exponent) that queries take; keys take the rest."""
    measure_max_logit: bool = False
    """Say in the curve how large attention logits become; trials that clip do anyway. Either makes trials train alone, and not compiled."""

    @property
    def watches_logits(self) -> bool:
        """Whether attention logits are looked at."""
        return self.qk_clip is not None or self.measure_max_logit


def clip_problems(model: Architecture, optimizer: OptimizerOptions) -> Iterator[Problem]:
    """Why logits cannot be clipped as asked: fields of the optimizer's options."""
    if optimizer.qk_clip is not None and model.qk_norm:
        message = "has no effect under model.qk_norm, which takes the weights' size out of the logits; drop one of the two"
        yield Problem("qk_clip", message, optimizer.qk_clip)
    alpha = optimizer.qk_clip_alpha
    if optimizer.qk_clip is None and alpha != OptimizerOptions.__dataclass_fields__["qk_clip_alpha"].default:
        yield Problem("qk_clip_alpha", "has no meaning without qk_clip; leave it out, or give that, too", alpha)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimizerSpec(OptimizerOptions):
    """The optimizer and its base hyperparameters; effective values per parameter group follow from `telescope.mup`."""

    name: OptimizerName
    lr: Positive
    """Base learning rate, independent of width (of Muon in a Muon run)."""
    weight_decay: NonNegative
    """Base decoupled weight decay: each step multiplies a weight by 1 - scaled_lr * scaled_weight_decay."""
    adamw_lr_ratio: Positive = 0.5
    """In a Muon run: base lr of the AdamW groups (embeddings, head, vectors) over Muon's."""
    parametrisation: Parametrisation = "mup"


ORIGIN = ("corpus", "tokenizer")  # of data: where their tokens come from, by names or paths
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
UNTIMED_STEPS = 5  # at the beginning of a run that measures time; its last step, which ends in an evaluation, is not timed either


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataSpec:
    """A stream of tokens. `telescope.data.resolve` fills in `content` and `vocab_size` when a job is accepted."""

    corpus: mixtures.CorpusOrMixture
    """A built-in corpus (python-stdlib, python-docs), a registered name, or the path of a file or folder; or a mixture, a mapping of two
    or more of these to weights, such as {python-stdlib: 7, python-docs: 3}."""
    tokenizer: Annotated[str, Field(min_length=1)] = "bytes"
    """bytes, bpe-N (a BPE of N entries trained on the corpus, or on all parts of a mixture), or the path of a tokenizer.json."""
    context: Annotated[int, Field(ge=2)] = 64
    """Tokens per training window."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of each corpus, by whole files where there are several, held out for the loss that decides."""
    content: str = ""
    """Hash of the tokens and their split, filled in by telescope; if given, it must match."""
    vocab_size: Annotated[int, Field(ge=0)] = 0
    """Filled in by telescope."""

    @property
    def parts(self) -> tuple[mixtures.Part, ...]:
        """The corpora that windows are drawn from, with weights that sum to 1; one corpus is all of it."""
        return mixtures.parts(self.corpus)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HorizonSpec:
    """How long a trial trains, in which batches, on which learning-rate schedule."""

    steps: Count
    batch_tokens: Count
    """Tokens per optimizer step; a multiple of the context."""
    micro_batch_tokens: Count | None = None
    """Tokens per forward pass, where batch_tokens does not fit into memory; gradients accumulate."""
    warmup_fraction: Fraction = 0.1
    decay: Literal["linear", "cosine", "constant", "wsd"] = "linear"
    """After warm-up: to the final lr by a line or a cosine, not at all, or stable and then a line over decay_fraction."""
    decay_fraction: Fraction = 0.2
    """For wsd: share of the steps spent decaying."""
    final_lr_fraction: Fraction = 0.0
    evaluation_tokens: Count = 16_384
    """Held-out tokens that the loss is measured on, the same ones for every trial."""
    evaluate_every: Count | None = None
    """Steps between held-out losses; by default only at the end."""
    record_every: Count | None = None
    """Steps between points of the curve; by default at most 60 points."""
    stop_below_loss: Positive | None = None
    """End the run at the first held-out loss at or below this; needs evaluate_every."""

    @model_validator(mode="after")
    def _batches(self) -> "HorizonSpec":
        micro = self.micro_batch_tokens
        if micro is not None and self.batch_tokens % micro:
            raise ValueError(f"micro_batch_tokens {micro} does not divide batch_tokens {self.batch_tokens}; use a divisor of it")
        if self.stop_below_loss is not None and self.evaluate_every is None:
            raise ValueError("stop_below_loss is looked at where the held-out loss is; give evaluate_every, too")
        return self

    @property
    def record_interval(self) -> int:
        """Steps between points of the curve."""
        return self.record_every or max(1, math.ceil(self.steps / 60))

    @property
    def tokens(self) -> int:
        """Tokens of the whole run."""
        return self.steps * self.batch_tokens


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Branch:
    """Where a run may begin, since another trial has made its first steps: same model, optimizer, data, seed and schedule."""

    trunk: Annotated[str, Field(min_length=32, max_length=32)]
    """Digest of the trial that makes them, and has this step among its `kept_steps`."""
    step: Count
    """How many they are."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrialSpec:
    """One training run, fully determined; its identity is `digest`."""

    model: AnyModel
    optimizer: OptimizerSpec
    data: DataSpec
    horizon: HorizonSpec
    seed: int = field(default=0)
    """Seeds initialisation and data order alike."""
    measure: Literal["loss", "coordinates", "time"] = "loss"
    """What the run is for: its final held-out loss, how far each layer's output moves in its first steps (telescope.coordinates), or how
    long a step takes, alone on a worker."""
    branch: Branch | None = None
    """The run is as its horizon says, but may begin at a state that another trial left; without that it makes all its steps."""
    kept_steps: tuple[Count, ...] = ()
    """Steps at which the run's state is kept for others to branch from, until the job ends."""

    @model_validator(mode="after")
    def _windows(self) -> "TrialSpec":
        problem = batch_problem(self.data, self.horizon)
        if problem:
            raise ValueError(problem)
        if isinstance(self.model, Architecture):
            _require_none(clip_problems(self.model, self.optimizer))
        elif self.optimizer.watches_logits:
            raise ValueError("telescope does not see the attention logits of a user's model; leave qk_clip and measure_max_logit out")
        if self.branch and self.branch.step >= self.horizon.steps:
            raise ValueError(f"branch.step {self.branch.step} leaves nothing of {self.horizon.steps} steps; branch off earlier")
        if self.measure == "time" and self.horizon.steps < UNTIMED_STEPS + 2:
            raise ValueError(f"{self.horizon.steps} steps are too few to time one; give {UNTIMED_STEPS + 2} or more")
        return self

    @property
    def branch_step(self) -> int:
        """Steps that the run has in common with its trunk: its curve and its costs begin after them."""
        return self.branch.step if self.branch else 0

    @property
    def own_steps(self) -> int:
        """Steps after those."""
        return self.horizon.steps - self.branch_step

    @cached_property
    def digest(self) -> str:
        """Identity of the run: 128 bits of the SHA-256 of its canonical JSON.

        Of data whose content is known, it leaves out where they come from: the content is the hash of the tokens themselves. What specs
        could say only later (`LATER`) is left out where it says nothing, so that runs keep their identity.
        """
        plain = _plain(self)
        for part, name, default in LATER:
            values = plain[part] if part else plain
            if name in values and values[name] == default:  # a user's model has other fields
                del values[name]
        if self.data.content:
            plain["data"] = {name: value for name, value in plain["data"].items() if name not in ORIGIN}
        return _hashed(plain)


def batch_problem(data: DataSpec, horizon: HorizonSpec) -> str | None:
    """Why this batch cannot be cut into windows of the data's context, or None."""
    for name, tokens in (("batch_tokens", horizon.batch_tokens), ("micro_batch_tokens", horizon.micro_batch_tokens)):
        if tokens is not None and tokens < data.context:
            return f"{name} {tokens} is smaller than one context of {data.context} tokens; use a multiple of {data.context}"
        if tokens is not None and tokens % data.context:
            below = tokens // data.context * data.context
            return f"{name} {tokens} is not a multiple of the context, {data.context} tokens; use {below} or {below + data.context}"
    return None


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


OCTAVE_PARTS = 64


def snap(octaves: float) -> float:
    """Nearest point of the planning lattice, 1/64 octave; planned numbers lie on it so that refits make no new trials."""
    return round(octaves * OCTAVE_PARTS) / OCTAVE_PARTS


def from_octaves(octaves: float) -> float:
    """The planned value 2**octaves, cut to 12 digits so that no platform's last bit changes a digest."""
    return float(f"{2.0 ** snap(octaves):.12g}")
