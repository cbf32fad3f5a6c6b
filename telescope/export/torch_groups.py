"""The constants of an exported Python file. One of them, GROUPS, lists the parameter groups for
torch.optim.Muon and torch.optim.AdamW.

torch.optim.Muon (torch 2.13) multiplies the update, but not the weight decay, by a factor t that
depends on the shape of the matrix. If the argument adjust_lr_fn is `original`, t is
sqrt(max(1, fan_out / fan_in)). If adjust_lr_fn is `match_rms_adamw`, t is
0.2 sqrt(max(fan_out, fan_in)). telescope multiplies the update by its update scale s instead. So a
Muon group of the file has

    lr = scaled_lr x s / t, so that lr x t equals telescope's scaled_lr x s,
    weight_decay = telescope's weight_decay x t / s, so that lr x weight_decay equals telescope's
    scaled_lr x weight_decay.

The ratio s / t depends on the shape of the matrix. So each Muon group of the answer becomes one or
more groups of the file, one for each ratio.
"""

import math
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from telescope.export import schedule
from telescope.export.families import exported_by
from telescope.export.final_run import FinalRun
from telescope.optim.groups import ParameterGroup
from telescope.optim.newton_schulz import COEFFICIENTS
from telescope.parametrisation import mup
from telescope.trials.types import UpdateScale

WIDTH = 120  # columns of a list of parameter names
TORCH_FACTORS: Mapping[str, Callable[[int, int], float]] = {
    "original": mup.UPDATE_SCALES["spectral_clamped"],
    "match_rms_adamw": mup.UPDATE_SCALES["rms_match"],
}
"""For each value of torch.optim.Muon's argument adjust_lr_fn, the factor t for a matrix of shape
(fan_out, fan_in)."""


def ungrouped_constants(run: FinalRun) -> list[str]:
    """The lines that define the constants other than GROUPS and MULTIPLIERS."""
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


def adjust_lr_fn(scale: UpdateScale) -> str:
    """The value of torch.optim.Muon's argument adjust_lr_fn for an update scale. If the factor t
    differs from the update scale, the learning rates of the groups make up for the difference."""
    return "match_rms_adamw" if scale == "rms_match" else "original"


def grouped_parameters(run: FinalRun) -> str:
    """The source code of the constant GROUPS."""
    lines = [
        line
        for group in run.groups
        for line in (muon_groups(run, group) if group.uses_muon else [adamw_group(group)])
    ]
    return "\n".join(["GROUPS = (", *lines, ")"])


def adamw_group(group: ParameterGroup) -> str:
    return group_source(group, group.scaled_lr, group.weight_decay, group.names)


def muon_groups(run: FinalRun, group: ParameterGroup) -> Iterator[str]:
    """The source code of one `Group` for each ratio of the update scale s to torch's factor t."""
    optimizer = run.spec.optimizer
    torch_factor = TORCH_FACTORS[adjust_lr_fn(mup.chosen_update_scale(optimizer))]
    names_by_ratio: defaultdict[float, list[str]] = defaultdict(list)
    for name in group.names:
        # a model may store the matrix as (fan_in, fan_out); torch uses the stored shape
        shape, stored_shape = run.matrix_shapes(name)[0], run.shapes[name]
        ratio = mup.update_scale(optimizer, *shape) / torch_factor(*stored_shape)
        names_by_ratio[ratio].append(name)
    for ratio, names in names_by_ratio.items():
        factors = (
            f"lr = {group.scaled_lr:.6g} x {ratio:.6g} (telescope's update scale / torch's factor)"
        )
        comment = "" if math.isclose(ratio, 1.0) else f"  # {factors}"
        lr, weight_decay = group.scaled_lr * ratio, group.weight_decay / ratio
        yield group_source(group, lr, weight_decay, tuple(names), comment)


def group_source(
    group: ParameterGroup, lr: float, weight_decay: float, names: tuple[str, ...], comment: str = ""
) -> str:
    """The source code of one `Group` of `telescope.export.recipe`."""
    numbers = (
        f"lr={lr!r}, weight_decay={weight_decay!r}, "
        f"eps={group.eps or 0.0!r}, init_std={group.init_std!r}"
    )
    listed = textwrap.fill(
        ", ".join(map(repr, names)),
        WIDTH,
        initial_indent=" " * 12,
        subsequent_indent=" " * 12,
        break_on_hyphens=False,
    )
    lines = [
        "Group(",
        f'    "{group.role}", "{group.optimizer}",{comment}',
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
    """The source code of the constant MULTIPLIERS, which lists the factors other than 1 on inputs
    and outputs of modules."""
    triples = exported_by(run).multipliers(run.model, run.groups)
    return f"MULTIPLIERS: tuple[tuple[str, str, float], ...] = {tuple(triples)!r}".replace("'", '"')
