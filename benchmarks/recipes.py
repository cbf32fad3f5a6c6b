"""The trials that benchmarks train, as telescope's specs and as plain numbers.

A spec is telescope's full specification of a trial. `trials` returns the specs of many trials.
`recipe` converts a spec to a `Recipe` for code that does not use telescope (`benchmarks.peers`). A
`Recipe` has the paths of the token files, and for each parameter of the model the learning rate and
the other hyperparameters that telescope's muP table gives.
"""

import math
from itertools import islice, product

from benchmarks.peers.plain import ParameterGroup, Recipe
from telescope.data.batches import resolve
from telescope.data.tokens import prepare_tokens
from telescope.optim.groups import describe_groups
from telescope.parametrisation import mup
from telescope.parametrisation.roles import Role
from telescope.trials.data import DataSpec
from telescope.trials.horizon import HorizonSpec
from telescope.trials.model import ModelSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.spec import TrialSpec

# All optimizers with Muon scale the update of a matrix by sqrt(max(1, out / in)), where in and out
# are the matrix's dimensions. torch.optim.Muon scales in this way, too, so that the plain loop
# needs no separate parameter group for each shape of matrix.
OPTIMIZERS = tuple(
    OptimizerSpec(name=name, lr=2.0**octave, weight_decay=0.1, update_scale="spectral_clamped")
    for octave in (0.0, 1.0, 2.0, 0.5, 1.5)
    for name, octave in (("muon", octave - 6), ("adamw", octave - 8))
)


def trial(
    width: int,
    steps: int,
    optimizer: OptimizerSpec,
    seed: int = 0,
    batch_tokens: int = 512,
    depth: int = 2,
) -> TrialSpec:
    """A trial on the bytes of python-stdlib, with sequences of 64 tokens and heads of size 16."""
    model = ModelSpec(width=width, base_width=32, depth=depth, head_dim=16)
    data = resolve(DataSpec(corpus="python-stdlib", context=64))
    horizon = HorizonSpec(steps=steps, batch_tokens=batch_tokens)
    return TrialSpec(model=model, optimizer=optimizer, data=data, horizon=horizon, seed=seed)


def trials(widths: tuple[int, ...], count: int, steps: int) -> list[TrialSpec]:
    """`count` trials, the same number at each width, with the largest width first.

    Muon and AdamW alternate. After five learning rates of each optimizer, the trials repeat with
    the next seed.
    """
    variants = list(islice(product(range(count), OPTIMIZERS), count // len(widths)))
    return [
        trial(width, steps, optimizer, seed)
        for width in sorted(widths, reverse=True)
        for seed, optimizer in variants
    ]


def recipe(spec: TrialSpec) -> Recipe:
    """The trial of a spec in plain numbers."""
    model, horizon = spec.model, spec.horizon
    (data,) = prepare_tokens(spec.data)
    groups = describe_groups(model, data.vocab_size, spec.optimizer)
    multiplier = {group.role: group.multiplier for group in groups}
    windows = min(
        horizon.evaluation_tokens // spec.data.context,
        (data.validation_tokens - 1) // spec.data.context,
    )
    return Recipe(
        width=model.width,
        depth=model.depth,
        head_dim=model.head_dim,
        hidden=model.hidden,
        vocab_size=data.vocab_size,
        context=spec.data.context,
        embedding_multiplier=multiplier[Role.EMBEDDING],
        head_multiplier=multiplier[Role.READOUT],
        attention_scale=mup.attention_factor(model),
        groups=tuple(
            ParameterGroup(
                names=group.names,
                muon=group.uses_muon,
                lr=group.scaled_lr,
                weight_decay=group.weight_decay,
                eps=group.eps or 0.0,
                init_std=group.init_std,
            )
            for group in groups
        ),
        momentum=spec.optimizer.momentum,
        betas=(spec.optimizer.beta1, spec.optimizer.beta2),
        steps=horizon.steps,
        warmup_steps=math.ceil(horizon.warmup_fraction * horizon.steps),
        windows=horizon.batch_tokens // spec.data.context,
        evaluation_windows=windows,
        record_every=horizon.record_interval,
        seed=spec.seed,
        train_file=str(data.folder / "train.bin"),
        validation_file=str(data.folder / "validation.bin"),
    )
