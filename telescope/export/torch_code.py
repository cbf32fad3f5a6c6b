"""An answer as a Python file that trains with torch alone.

Four parts: a docstring with the source of the numbers, the numbers, the model's own source
(`model_source`), and the functions of `recipe`. For a model that is not ours, whose source is not
copied, `configure` applies the forward multipliers from outside.

torch.optim.Muon multiplies the learning rate by its own factor, sqrt(max(1, fan_out / fan_in))
(`original`) or 0.2 sqrt(max(fan_out, fan_in)) (`match_rms_adamw`; torch 2.13), and decays by the
learning rate without this factor. With s our update scale and t torch's factor, a group has

    lr = scaled_lr x s / t,   so that torch's step lr x t equals ours, scaled_lr x s,
    weight_decay = weight_decay x t / s,   so that lr x weight_decay equals ours, too.

s / t depends on the shape, so a group is split by the shapes of its matrices.

Parts: `module_text` · `module_docstring`, `ungrouped_constants`, `grouped_parameters` ·
`torch_refusals`.
"""

import inspect
import math
import re
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import telescope
from telescope.errors import NotExportable, Problem
from telescope.export import recipe, schedule
from telescope.export.families import Made, exported_by
from telescope.export.final_run import FinalRun, unknown_options
from telescope.export.model_source import ASIDE, ModelSource
from telescope.optim.groups import ParameterGroup
from telescope.optim.newton_schulz import COEFFICIENTS
from telescope.parametrisation import mup
from telescope.trials import mixtures
from telescope.trials.types import UpdateScale

WIDTH = 120  # columns
TORCH_FACTORS: Mapping[str, Callable[[int, int], float]] = {
    "original": mup.UPDATE_SCALES["spectral_clamped"],
    "match_rms_adamw": mup.UPDATE_SCALES["rms_match"],
}
"""The factors by which torch.optim.Muon multiplies the learning rate of a (fan_out, fan_in) matrix,
by adjust_lr_fn."""

IMPORTS = (
    "import math",
    "import warnings",
    "from collections.abc import Sequence",
    "from dataclasses import dataclass",
    "from types import SimpleNamespace",
    "from typing import Any",
    "import torch",
    "from torch import Tensor, nn",
    "from torch.nn import functional",
)
OPTIMISATION: tuple[Any, ...] = (
    recipe.parameter_groups,
    recipe.build_optimizers,
    recipe.build_schedulers,
)

BUILT = Made(("model = build_model()", "initialise(model, seed=0)"), (recipe.initialise,))
TRAINED = """\
    optimizers = build_optimizers(model)
    schedulers = build_schedulers(optimizers)
    for batch in your_batches:  # windows of CONTEXT + 1 tokens, BATCH_TOKENS // CONTEXT of them
        # or several smaller batches in the list, if one does not fit into memory
        loss = train_step(model, optimizers, schedulers, [batch])"""
MODEL = (
    "# The model, as it was tuned. Annotations name the shapes of tensors and are never evaluated."
)
TRY = """\
if __name__ == "__main__":  # a few steps on random tokens, to see that it runs
    example = build_model()
    initialise(example, seed=0)
    its_optimizers = build_optimizers(example)
    its_schedulers = build_schedulers(its_optimizers)
    random_tokens = torch.randint(VOCAB_SIZE, (2, CONTEXT + 1))
    for _ in range(3):
        print(float(train_step(example, its_optimizers, its_schedulers, [random_tokens])))"""


def module_text(run: FinalRun) -> str:
    """The file, with the model's source if it is ours."""
    return written(run, exported_by(run).source(run.spec.model, run.spec.optimizer.parametrisation))


def written(run: FinalRun, model: ModelSource | None) -> str:
    """The file with this model source, or, without one, for a model that the reader has."""
    problems = tuple(torch_refusals(run))
    if problems:
        raise NotExportable.because("torch.optim.Muon and AdamW cannot do what was tuned", problems)
    spec, family = run.spec, exported_by(run)
    made = BUILT if model else family.made(run.model, spec.optimizer)
    build = f'Transformer(SPEC, VOCAB_SIZE, CONTEXT, "{spec.optimizer.parametrisation}")'
    building = f'def build_model() -> nn.Module:\n    """The model at width {spec.model.width}."""\n    return {build}'
    blocks = [
        warning(run.warning) if run.warning else "",
        "# The answer",
        recipe_source(recipe.Group),
        "\n".join(
            [
                *ungrouped_constants(run),
                "",
                grouped_parameters(run),
                *([] if model else [multipliers(run)]),
            ]
        ),
        *([MODEL, model.code, building] if model else []),
        "# Training",
        *map(recipe_source, OPTIMISATION),
        decayed_source(spec.horizon.decay),
        recipe_source(recipe.lr_factor),
        *map(recipe_source, made.functions),
        recipe_source(family.loss(spec.model)).replace("own_loss_of", "loss_of"),
        recipe_source(recipe.train_step),
        TRY if model else "",
    ]
    body = "\n\n\n".join(filter(None, blocks))
    use = "\n".join([*(f"    {line}" for line in made.lines), TRAINED])
    top = [
        module_docstring(run, use),
        "",
        "from __future__ import annotations",
        "",
        imports(body, model),
    ]
    return "\n".join([*top, "", "", body, ""])


def torch_refusals(run: FinalRun) -> Iterator[Problem]:
    """Settings that torch's optimizers cannot express."""
    yield from unknown_options(run)
    optimizer = run.spec.optimizer
    if optimizer.name == "muon" and optimizer.newton_schulz_dtype != "bfloat16":
        remedy = "tune with bfloat16, or use --to json and your own orthogonalisation"
        message = f"torch.optim.Muon orthogonalises in bfloat16 alone; {remedy}"
        yield Problem(
            "optimizer_options.newton_schulz_dtype", message, optimizer.newton_schulz_dtype
        )
    for name in (name for group in run.groups if group.uses_muon for name in group.names):
        if len(run.shapes[name]) != 2 or len(run.blocks(name)) > 1:
            message = (
                f"torch.optim.Muon takes matrices whole, and {name} holds {len(run.blocks(name))}; "
                "use --to json, or tune without splits"
            )
            yield Problem(
                "model.splits" if len(run.shapes[name]) == 2 else "model.factory", message, name
            )


# The text


def module_docstring(run: FinalRun, use: str) -> str:
    """The docstring: what the file is, how to use it, and the source of its numbers."""
    ladder, data, horizon = run.ladder, run.spec.data, run.spec.horizon
    of = f"{OPTIMIZERS[ladder.optimizer]} at width {run.spec.model.width} for {horizon.steps} steps of {horizon.batch_tokens} tokens"
    values = "; ".join(
        f"{name} {found.value:.6g} ({found.low:.3g} to {found.high:.3g}, {found.status})"
        for name, found in ladder.hyperparameters.items()
    )
    fit = ladder.scaling_fit
    rows = {
        "job": f"{run.source.job} ({run.source.name}), {run.source.date:%Y-%m-%d %H:%M} UTC",
        "verdict": f"{ladder.verdict}: {ladder.reason}",
        "values": f"{values}; base values, which hold at every width, with their 90 % intervals",
        "fit": f"{ladder.method.schedule}, {ladder.method.estimator}" if ladder.method else "",
        "scaling": f"loss = {fit.A:.4g} / parameters^{fit.exponent:.4g} + {fit.E:.4g}"
        if fit
        else "",
        "trials": (
            f"{len(run.trials)}, of seeds {', '.join(map(str, run.seeds))}, at widths {', '.join(widths(run))}"
        ),
        "text": (
            f"{mixtures.corpus_label(data.corpus)}, {data.tokenizer} ({data.vocab_size} symbols), content {data.content}"
        ),
        "computed": "; ".join(run.numerics),
        "written by": f"telescope {telescope.__version__}",
    }
    told = [
        textwrap.fill(
            f"{name + ':':<12}{safe(said)}",
            WIDTH,
            subsequent_indent=" " * 12,
            break_long_words=False,
        )
        for name, said in rows.items()
        if said
    ]
    loudly = [textwrap.fill(f"WARNING: {safe(run.warning)}", WIDTH), ""] if run.warning else []
    first = f'"""Train with {of}, as found by telescope.'
    return "\n".join([first, "", *loudly, use, "", *told, '"""'])


OPTIMIZERS = {"muon": "Muon and AdamW", "adamw": "AdamW"}


def warning(said: str) -> str:
    """Code that warns anyone who runs the file."""
    lines = textwrap.wrap(said, WIDTH - 20, drop_whitespace=False, break_on_hyphens=False)
    return "\n".join(
        [
            "warnings.warn(",
            *(f"    {line!r}" for line in lines[:-1]),
            f"    {lines[-1]!r},",
            "    stacklevel=1,",
            ")",
        ]
    )


def widths(run: FinalRun) -> list[str]:
    """The widths of the run's trials."""
    return [str(width) for width in sorted({trial.width for trial in run.trials})]


def safe(said: str) -> str:
    """The text on one line, and unable to end a docstring, whatever it contains."""
    return " ".join(
        said.encode(errors="replace").decode().replace("\\", "\\\\").replace('"', "'").split()
    )


def imports(body: str, model: ModelSource | None) -> str:
    """Imports of the names that the code uses: the standard library's first, then torch's."""
    lines = dict.fromkeys([*IMPORTS, *(model.imports if model else ())])
    used = [
        line
        for line in lines
        if set(re.findall(r"\w+", line.rpartition("import ")[2])) & set(re.findall(r"\w+", body))
    ]
    torch = [line for line in used if line.split()[1].partition(".")[0] == "torch"]
    return "\n".join([*(line for line in used if line not in torch), "", *torch])


def recipe_source(thing: Any) -> str:
    """The source of a function or class of the recipe."""
    return ASIDE.sub("", inspect.getsource(thing)).rstrip()


def ungrouped_constants(run: FinalRun) -> list[str]:
    """The constants that belong to no parameter group."""
    optimizer, horizon, data = run.spec.optimizer, run.spec.horizon, run.spec.data
    sizes = {
        "VOCAB_SIZE": data.vocab_size,
        "CONTEXT": data.context,
        "BATCH_TOKENS": horizon.batch_tokens,
    }
    lines = [
        f"{name} = {value!r}"
        for name, value in (sizes | schedule.schedule_constants(horizon)).items()
    ]
    muon = {
        "momentum": optimizer.momentum,
        "nesterov": optimizer.nesterov,
        "ns_coefficients": COEFFICIENTS,
        "ns_steps": optimizer.newton_schulz_steps,
        "adjust_lr_fn": adjust_lr_fn(mup.chosen_update_scale(optimizer)),
    }
    return [
        *lines,
        f"MUON = {muon if optimizer.name == 'muon' else {}!r}",
        f"BETAS = {(optimizer.beta1, optimizer.beta2)!r}",
    ]


def decayed_source(decay: str) -> str:
    """The recipe's function `decayed` for this schedule."""
    signature, said = inspect.getsource(recipe.decayed).splitlines()[:2]
    return "\n".join([signature, said, f"    return {schedule.DECAYED[decay]}"])


# The groups


def adjust_lr_fn(scale: UpdateScale) -> str:
    """The adjust_lr_fn whose factor equals our update scale, or the one that our scale is expressed
    by."""
    return "match_rms_adamw" if scale == "rms_match" else "original"


def grouped_parameters(run: FinalRun) -> str:
    """All groups; those of Muon split by shape."""
    lines = [
        line
        for group in run.groups
        for line in (muon_groups(run, group) if group.uses_muon else [adamw_group(group)])
    ]
    return "\n".join(["GROUPS = (", *lines, ")"])


def adamw_group(group: ParameterGroup) -> str:
    """An AdamW group, unchanged."""
    return entry(group, group.scaled_lr, group.weight_decay, group.names)


def muon_groups(run: FinalRun, group: ParameterGroup) -> Iterator[str]:
    """A Muon group for each ratio of our update scale to torch's factor."""
    optimizer = run.spec.optimizer
    torch_factor = TORCH_FACTORS[adjust_lr_fn(mup.chosen_update_scale(optimizer))]
    members: defaultdict[float, list[str]] = defaultdict(list)
    for name in group.names:
        ours, theirs = run.blocks(name)[0], run.shapes[name]  # which may be (fan_in, fan_out)
        members[mup.update_scale(optimizer, *ours) / torch_factor(*theirs)].append(name)
    for share, names in members.items():
        told = (
            ""
            if math.isclose(share, 1.0)
            else f"  # lr {group.scaled_lr:.6g} x {share:.6g}, our update scale over torch's factor"
        )
        yield entry(group, group.scaled_lr * share, group.weight_decay / share, tuple(names), told)


def entry(
    group: ParameterGroup, lr: float, weight_decay: float, names: tuple[str, ...], told: str = ""
) -> str:
    """A `Group` of the recipe, as text."""
    numbers = f"lr={lr!r}, weight_decay={weight_decay!r}, eps={group.eps or 0.0!r}, init_std={group.init_std!r}"
    listed = textwrap.fill(
        ", ".join(map(repr, names)),
        WIDTH,
        initial_indent=" " * 12,
        subsequent_indent=" " * 12,
        break_on_hyphens=False,
    )
    lines = [
        "Group(",
        f'    "{group.role}", "{group.optimizer}",{told}',
        f"    {numbers},",
        "    names=(",
    ]
    return "\n".join(
        [
            *("    " + line for line in lines),
            f"{listed.replace(chr(39), chr(34))},",
            "        ),",
            "    ),",
        ]
    )


def multipliers(run: FinalRun) -> str:
    """The forward multipliers other than 1: module, input or output, factor."""
    triples = exported_by(run).multipliers(run.model, run.groups)
    return f"MULTIPLIERS: tuple[tuple[str, str, float], ...] = {tuple(triples)!r}".replace("'", '"')
