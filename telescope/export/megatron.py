"""An answer as flags for Megatron-LM, or the reasons why Megatron-LM cannot express it.

Megatron-LM has one learning rate (`--lr`), a second learning rate for embedding and readout
(`--decoupled-lr`), one weight decay and one eps. The flag `--use-mup` changes some of these values
by the width multiplier, which is width / base width. It divides the learning rate of hidden
matrices that Adam trains. In a run without Muon, it also divides the eps of hidden matrices and
readout. And it multiplies the embedding's output and the logits by the factors of two other flags.

First, the flags that come closest to the answer are chosen (`megatron_settings.settings`). Then the
values that Megatron-LM derives from these flags (`megatron_settings.realised`) are compared with
each parameter group of the answer. If a value differs, Megatron-LM cannot express the rule by which
the answer scales this value. The options of the model and of Muon are checked, too. If Megatron-LM
cannot express a rule, the export is refused, and the error names all such rules.

The flags and rules were taken from the source code of github.com/NVIDIA/Megatron-LM:

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
  trains matrices that are neither embedding nor readout; Muon splits a fused matrix of query, key
  and value, but not a fused matrix of gate and up (issue 7077, pull request 6688); Muon's scale
  modes come from the library Emerging-Optimizers (pull request 3715);
- megatron/core/optimizer_param_scheduler.py at 00caa53af30912914981c86f39db123961678bbd: warm-up
  and decay.

Flags cannot give each kind of matrix initial values of its own. The header of the export states the
standard deviations that are needed. The export in the format torch contains the code that draws
such values.
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
    """One flag and its comment. `value` is None if the flag takes no value."""

    name: str
    value: str | int | float | None
    comment: str


def flags_text(run: FinalRun) -> str:
    """The text of the flags, each below a comment. Raises NotExportable if flags cannot describe
    the model. Also raises NotExportable if flags cannot express a rule of the answer. The error
    names all such rules."""
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
    """Comments on the source and use of the flags, and on the values that the flags cannot set."""
    horizon, data = run.spec.horizon, run.question.data
    source = (
        f"Megatron-LM flags for {run.spec.optimizer.name} at width {model_of_flags(run).width}. "
        f"telescope found them in job {run.source.job} "
        f"({run.source.name}, {run.source.date:%Y-%m-%d}) "
        f"on {mixtures.corpus_label(data.corpus)} {data.content}, "
        f"from {len(run.trials)} trials with the seeds {', '.join(map(str, run.seeds))}. "
        f"Verdict: {run.ladder.verdict}, {run.ladder.reason}."
    )
    usage = (
        "Usage: pretrain_gpt.py $(grep -v '^#' THIS_FILE) ...; "
        "add the flags for the kinds of norms, positions, attention and feed-forward layers "
        "yourself."
    )
    initialisation = (
        "Megatron-LM has no flags for the initial values of each kind of matrix. They must be "
        f"{initial_values(run)}. "
        "Load weights that were drawn in this way; the export --to torch contains the code."
    )
    warmup = (
        f"Warm-up lags by one step: in Megatron-LM, the first of the {warmup_steps(horizon)} "
        "warm-up steps has the learning rate 0. After warm-up, the learning rates are the same as "
        "telescope's."
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
    """The standard deviation of the initial values of each kind of matrix, as text. Matrices of one
    kind have the same name, apart from the index of their layer, and the same standard
    deviation."""
    stds: dict[str, float] = {}
    for group in run.groups:
        for name in group.names:
            path = name.removesuffix(".weight").split(".")
            kind = ".".join(part for part in path if not part.isdigit())
            stds[kind] = group.init_std
    nonzero = [f"{kind} {std:.4g}" for kind, std in stds.items() if std]
    zero = [kind for kind, std in stds.items() if not std and "norm" not in kind]
    text = f"normal with standard deviation {', '.join(nonzero)}"
    return f"{text}; {', '.join(zero)} at zero" if zero else text


def flags(run: FinalRun) -> Iterator[Flag]:
    yield from size_flags(run)
    yield from optimizer_flags(run, settings(run))
    yield from schedule_flags(run, settings(run))


def size_flags(run: FinalRun) -> Iterator[Flag]:
    """Flags for the sizes of the model and the batch, and for the number of steps."""
    model, data, horizon = model_of_flags(run), run.spec.data, run.spec.horizon
    yield Flag("--num-layers", model.depth, "number of Transformer blocks")
    yield Flag("--hidden-size", model.width, "the target width")
    yield Flag("--ffn-hidden-size", model.hidden, "units of a feed-forward layer")
    yield Flag(
        "--num-attention-heads", model.heads, f"attention heads, each of size {model.head_dim}"
    )
    if not model.tied_embeddings:
        yield Flag("--untie-embeddings-and-output-weights", None, "the readout has its own matrix")
    yield Flag("--seq-length", data.context, "context, in tokens")
    yield Flag(
        "--global-batch-size",
        horizon.batch_tokens // data.context,
        f"sequences in each step, {horizon.batch_tokens} tokens in all",
    )
    yield Flag("--train-iters", horizon.steps, f"steps, {horizon.tokens} tokens in all")


def optimizer_flags(run: FinalRun, chosen: MegatronSettings) -> Iterator[Flag]:
    if chosen.muon:
        yield from muon_flags(run)
    else:
        yield Flag("--optimizer", "adam", "Adam with decoupled weight decay")
    optimizer = run.spec.optimizer
    yield Flag("--adam-beta1", optimizer.beta1, "Adam's beta1")
    yield Flag("--adam-beta2", optimizer.beta2, "Adam's beta2")
    divided = chosen.width_multiplier and not chosen.muon
    eps = "Adam's eps" + (", which --use-mup divides by the width multiplier" if divided else "")
    yield Flag("--adam-eps", chosen.eps, eps)
    yield Flag("--clip-grad", 0.0, "telescope does not clip gradients")
    yield Flag(
        "--weight-decay", chosen.weight_decay, "a step multiplies matrices by 1 - lr x weight decay"
    )
    if chosen.width_multiplier:
        yield from mup_flags(run, chosen)


def muon_flags(run: FinalRun) -> Iterator[Flag]:
    optimizer = run.spec.optimizer
    scale = mup.chosen_update_scale(optimizer)
    mode, factor = SCALE_MODES[scale]
    yield Flag("--optimizer", "muon", "Muon for hidden matrices, Adam for the rest")
    yield Flag(
        "--muon-momentum", optimizer.momentum, "share of the momentum buffer that a step keeps"
    )
    if optimizer.nesterov:
        yield Flag(
            "--muon-nesterov",
            None,
            "Nesterov momentum; the flag is --muon-use-nesterov in older releases",
        )
    yield Flag("--muon-scale-mode", mode, f"telescope's update scale {scale}")
    yield Flag(
        "--muon-extra-scale-factor", factor, "factor on the update, besides the scale mode's factor"
    )
    yield Flag(
        "--muon-coefficient-type", "simple", "Newton-Schulz coefficients 3.4445, -4.7750, 2.0315"
    )
    yield Flag(
        "--muon-num-ns-steps", optimizer.newton_schulz_steps, "number of Newton-Schulz iterations"
    )
    yield Flag("--muon-fp32-matmul-prec", "medium", "Newton-Schulz in bfloat16")
    yield Flag(
        "--muon-tp-mode",
        "duplicated",
        "orthogonalises whole matrices, not the shards of tensor parallelism",
    )
    yield Flag("--muon-scalar-optimizer", "adam", "the optimizer of all other parameters")


def mup_flags(run: FinalRun, chosen: MegatronSettings) -> Iterator[Flag]:
    model = model_of_flags(run)
    yield Flag("--use-mup", None, f"muP, with the width multiplier {chosen.width_multiplier:g}")
    yield Flag(
        "--mup-base-hidden-size", model.base_width, "the width at which the width multiplier is 1"
    )
    yield Flag(
        "--mup-embedding-mult", chosen.embedding_multiplier, "factor on the embedding's output"
    )
    yield Flag("--mup-output-mult", chosen.output_multiplier, "factor on the logits")
    factor = f"attention scores are multiplied by {mup.attention_factor(model):.6g}"
    if model.attention_scale == "inverse_sqrt":
        yield Flag("--mup-attn-scale-power", 0.5, f"{factor} = 1 / sqrt(head size)")
    else:
        power = f"{factor} = sqrt(base head size) / head size"
        yield Flag("--mup-attn-scale-power", 1.0, power)
        yield Flag(
            "--mup-base-head-dim", 64, "base head size, where the factor is 1 / sqrt(head size)"
        )


def schedule_flags(run: FinalRun, chosen: MegatronSettings) -> Iterator[Flag]:
    horizon = run.spec.horizon
    final, warmup = horizon.final_lr_fraction, warmup_steps(horizon)
    style = {"wsd": "WSD"}.get(horizon.decay, horizon.decay)
    yield Flag("--lr", chosen.lr, "peak learning rate")
    yield Flag("--min-lr", chosen.lr * final, "learning rate at the end of the decay")
    if chosen.decoupled_lr is not None:
        yield Flag(
            "--decoupled-lr", chosen.decoupled_lr, "peak learning rate of embedding and readout"
        )
        yield Flag(
            "--decoupled-min-lr",
            chosen.decoupled_lr * final,
            "learning rate of embedding and readout at the end of the decay",
        )
    yield Flag("--lr-warmup-iters", warmup, "number of warm-up steps")
    yield Flag("--lr-decay-style", style, "schedule after warm-up")
    yield Flag(
        "--lr-decay-iters", horizon.steps, "steps until the end of the decay, warm-up included"
    )
    if horizon.decay == "wsd":
        yield Flag("--lr-wsd-decay-style", "linear", "shape of the decay")
        yield Flag("--lr-wsd-decay-iters", decay_steps(horizon), "number of decay steps")
