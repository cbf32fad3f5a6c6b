"""An answer as flags for Megatron-LM, or the reasons why Megatron-LM cannot express it.

Megatron-LM has one learning rate (`--lr`), a second one for embedding and readout
(`--decoupled-lr`), one weight decay and one eps. `--use-mup` divides the learning rate of hidden
matrices that Adam trains by the width multiplier, and in a run without Muon also the eps of hidden
matrices and readout; the flag also adds multipliers of the embedding's output and of the logits.

So the closest flags are chosen first; then the values that Megatron-LM derives from these flags
(`megatron_settings.realised`) are compared with each parameter group of the answer. Every
difference is a rule that Megatron-LM cannot express. If there is any, the export is refused, and
the refusal names all such rules.

Flags and rules were taken from the source of github.com/NVIDIA/Megatron-LM:

- megatron/training/arguments.py at c99881af1687b1501182393faea07f9152798488: optimizer, Muon,
  `--decoupled-lr`, `--seq-length`;
- megatron/training/config/training_config.py at 8c090f2a7f1169d12deabe1908f9cf6955e6c612: batch,
  steps, schedule;
- megatron/core/transformer/transformer_config.py at 002526d81b81f6ab534e93844f9a228709887494: size,
  initial values, `--use-mup`;
- megatron/core/optimizer/__init__.py at 0044db1f20bf9311d6cfc77e76fa05163e97ce44:
  `get_standard_config_overrides` (no decay of parameters with one dimension) and
  `get_mup_config_overrides` (the learning rates and eps that muP divides);
- megatron/core/optimizer/emerging_optimizers.py at 000a71707977cbffaf4d14d12f0f8d33049e4da3: Muon
  takes matrices that are neither embedding nor readout; it splits a fused QKV matrix, but not a
  fused matrix of gate and up (issue 7077, pull request 6688); its scale modes come from the library
  Emerging-Optimizers (pull request 3715);
- megatron/core/optimizer_param_scheduler.py at 00caa53af30912914981c86f39db123961678bbd: warm-up
  and decay.

Flags cannot set the answer's initial values: Megatron-LM draws all hidden matrices and the readout
from one normal distribution. The header states the standard deviations that are needed; the file of
`--to torch` contains the code that draws such values.

Parts: `flags_text` · `flags_header`, the comments above all flags · `Flag`, and `flags`:
`size_flags`, `optimizer_flags`, `schedule_flags`.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from telescope.errors import NotExportable
from telescope.export.final_run import FinalRun
from telescope.export.megatron_settings import (
    SCALE_MODES,
    MegatronSettings,
    megatron_refusals,
    model_of_flags,
    settings,
)
from telescope.export.schedule import decay_steps
from telescope.optim.schedule import warmup_steps
from telescope.parametrisation import mup
from telescope.trials import mixtures

WIDTH = 120  # columns of the header


@dataclass(frozen=True)
class Flag:
    """One flag and its comment; `value` is None for a switch."""

    name: str
    value: str | int | float | None
    comment: str


def flags_text(run: FinalRun) -> str:
    """The flags, each after a comment. Raises NotExportable with all rules of the answer that flags
    cannot express, or if flags cannot describe the model."""
    problems = tuple(megatron_refusals(run))
    if problems:
        raise NotExportable.because("Megatron-LM's flags cannot express this answer", problems)
    lines = list(flags_header(run))
    for flag in flags(run):
        lines += [
            f"# {flag.comment}",
            flag.name if flag.value is None else f"{flag.name} {flag.value}",
        ]
    return "\n".join(lines) + "\n"


def flags_header(run: FinalRun) -> Iterator[str]:
    """Comments on the source and use of the flags, and on what these flags do not set."""
    horizon, data = run.spec.horizon, run.spec.data
    source = (
        f"Megatron-LM flags for {run.spec.optimizer.name} at width {model_of_flags(run).width}, "
        f"as found by telescope in job {run.source.job} "
        f"({run.source.name}, {run.source.date:%Y-%m-%d}) "
        f"on {mixtures.corpus_label(data.corpus)} {data.content}: "
        f"{run.ladder.verdict}, {run.ladder.reason}; "
        f"{len(run.trials)} trials of seeds {', '.join(map(str, run.seeds))}."
    )
    usage = (
        "Usage: pretrain_gpt.py $(grep -v '^#' THIS_FILE) ...; "
        "add the flags of norms, positions, attention and feed-forward."
    )
    initialisation = (
        f"No flags set the initial values, which must be {initial_values(run)}. "
        "Load weights drawn in this way; the file of --to torch has the code."
    )
    warmup = (
        f"Warm-up lags by one step: the first of its {warmup_steps(horizon)} steps has lr 0. "
        "The learning rates after warm-up agree with the answer."
    )
    paragraphs = [
        source,
        usage,
        f"WARNING: {run.warning}" if run.warning else "",
        initialisation,
        warmup if warmup_steps(horizon) else "",
    ]
    for paragraph in filter(None, paragraphs):
        yield from textwrap.wrap(
            " ".join(paragraph.split()),
            WIDTH,
            initial_indent="# ",
            subsequent_indent="# ",
            break_on_hyphens=False,
        )


def initial_values(run: FinalRun) -> str:
    """The standard deviation of each kind of matrix, as text. Matrices of one kind differ only in
    the number of their layer and share their standard deviation."""
    stds: dict[str, float] = {}
    for group in run.groups:
        for name in group.names:
            path = name.removesuffix(".weight").split(".")
            kind = ".".join(part for part in path if not part.isdigit())
            stds[kind] = group.init_std
    random = [f"{kind} {std:.4g}" for kind, std in stds.items() if std]
    zero = [kind for kind, std in stds.items() if not std and "norm" not in kind]
    text = f"normal with standard deviation {', '.join(random)}"
    return f"{text}; {', '.join(zero)} at zero" if zero else text


def flags(run: FinalRun) -> Iterator[Flag]:
    yield from size_flags(run)
    yield from optimizer_flags(run, settings(run))
    yield from schedule_flags(run, settings(run))


def size_flags(run: FinalRun) -> Iterator[Flag]:
    """Flags for the sizes of model and batch on which the hyperparameters depend."""
    model, data, horizon = model_of_flags(run), run.spec.data, run.spec.horizon
    yield Flag("--num-layers", model.depth, "Transformer blocks")
    yield Flag("--hidden-size", model.width, "the target width")
    yield Flag("--ffn-hidden-size", model.hidden, "units of the feed-forward layer")
    yield Flag("--num-attention-heads", model.heads, f"attention heads of size {model.head_dim}")
    if not model.tied_embeddings:
        yield Flag("--untie-embeddings-and-output-weights", None, "the readout has its own matrix")
    yield Flag("--seq-length", data.context, "context, in tokens")
    yield Flag(
        "--global-batch-size",
        horizon.batch_tokens // data.context,
        f"sequences, {horizon.batch_tokens} tokens in all",
    )
    yield Flag("--train-iters", horizon.steps, f"steps, {horizon.tokens} tokens in all")


def optimizer_flags(run: FinalRun, chosen: MegatronSettings) -> Iterator[Flag]:
    if chosen.muon:
        yield from muon_flags(run)
    else:
        yield Flag("--optimizer", "adam", "with decoupled weight decay")
    optimizer = run.spec.optimizer
    yield Flag("--adam-beta1", optimizer.beta1, "Adam's beta1")
    yield Flag("--adam-beta2", optimizer.beta2, "Adam's beta2")
    divided = chosen.width_multiplier and not chosen.muon
    eps = "Adam's eps" + (", divided by the width multiplier for matrices" if divided else "")
    yield Flag("--adam-eps", chosen.eps, eps)
    yield Flag("--clip-grad", 0.0, "gradients were not clipped")
    yield Flag(
        "--weight-decay", chosen.weight_decay, "a step multiplies matrices by 1 - lr x decay"
    )
    if chosen.width_multiplier:
        yield from mup_flags(run, chosen)


def muon_flags(run: FinalRun) -> Iterator[Flag]:
    optimizer = run.spec.optimizer
    scale = mup.chosen_update_scale(optimizer)
    mode, factor = SCALE_MODES[scale]
    yield Flag("--optimizer", "muon", "Muon for hidden matrices, Adam for the rest")
    yield Flag("--muon-momentum", optimizer.momentum, "factor of an exponential average")
    if optimizer.nesterov:
        yield Flag("--muon-nesterov", None, "called --muon-use-nesterov in older releases")
    yield Flag("--muon-scale-mode", mode, f"telescope's update scale {scale}")
    yield Flag(
        "--muon-extra-scale-factor", factor, "factor on the update, besides the scale mode's factor"
    )
    yield Flag("--muon-coefficient-type", "simple", "Newton-Schulz with 3.4445, -4.7750, 2.0315")
    yield Flag("--muon-num-ns-steps", optimizer.newton_schulz_steps, "Newton-Schulz steps")
    yield Flag("--muon-fp32-matmul-prec", "medium", "Newton-Schulz in bfloat16")
    yield Flag(
        "--muon-tp-mode",
        "duplicated",
        "orthogonalises whole matrices, not the shards of tensor parallelism",
    )
    yield Flag("--muon-scalar-optimizer", "adam", "for parameters other than hidden matrices")


def mup_flags(run: FinalRun, chosen: MegatronSettings) -> Iterator[Flag]:
    model = model_of_flags(run)
    yield Flag("--use-mup", None, f"width multiplier {chosen.width_multiplier:g}")
    yield Flag("--mup-base-hidden-size", model.base_width, "the width at which all factors are 1")
    yield Flag(
        "--mup-embedding-mult", chosen.embedding_multiplier, "factor on the embedding's output"
    )
    yield Flag("--mup-output-mult", chosen.output_multiplier, "factor on the logits")
    factor = f"attention scores times {mup.attention_factor(model):.6g}"
    if model.attention_scale == "inverse_sqrt":
        yield Flag("--mup-attn-scale-power", 0.5, f"{factor}: 1 / sqrt(head size)")
    else:
        power = f"{factor}: sqrt(base head size) / head size"
        yield Flag("--mup-attn-scale-power", 1.0, power)
        yield Flag(
            "--mup-base-head-dim", 64, "the base head size: the scale there is 1 / sqrt(head size)"
        )


def schedule_flags(run: FinalRun, chosen: MegatronSettings) -> Iterator[Flag]:
    horizon = run.spec.horizon
    final, warmup = horizon.final_lr_fraction, warmup_steps(horizon)
    style = {"wsd": "WSD"}.get(horizon.decay, horizon.decay)
    yield Flag("--lr", chosen.lr, "peak learning rate")
    yield Flag("--min-lr", chosen.lr * final, "learning rate at the end")
    if chosen.decoupled_lr is not None:
        yield Flag(
            "--decoupled-lr", chosen.decoupled_lr, "peak learning rate of embedding and readout"
        )
        yield Flag("--decoupled-min-lr", chosen.decoupled_lr * final, "their rate at the end")
    yield Flag("--lr-warmup-iters", warmup, "steps of warm-up")
    yield Flag("--lr-decay-style", style, "schedule after warm-up")
    yield Flag(
        "--lr-decay-iters", horizon.steps, "steps until the end of the decay, warm-up included"
    )
    if horizon.decay == "wsd":
        yield Flag("--lr-wsd-decay-style", "linear", "shape of the decay")
        yield Flag("--lr-wsd-decay-iters", decay_steps(horizon), "steps of the decay")
