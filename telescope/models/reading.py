"""The roles of a user's parameters, read off the model.

A user's model is built at two widths or more, and the narrowest model runs two forward passes
(`parameter_uses`). From the shapes of the parameters and their uses in the second pass,
telescope.models.classification decides each parameter's role. If shapes and uses do not decide it,
the model is refused with the name of the parameter, whose role the user then sets in `model.roles`.

Parts: `infer`, a `ParameterReading` per parameter · `build_module`, a factory's model at a width ·
`parameter_uses`.
"""

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import nn

from telescope.errors import InvalidInput, Problem
from telescope.models.classification import ParameterReading, Unclear, classify, growing_dimensions
from telescope.models.factory import Factory
from telescope.models.uses import Use, uses
from telescope.parametrisation.layout import MatrixLayout
from telescope.parametrisation.roles import Role

ROLES_FIELD, SPLITS_FIELD, FACTORY_FIELD = "model.roles", "model.splits", "model.factory"
TRACED_TOKENS = 64  # upper limit of different tokens in the observed forward pass
ValueType = TypeVar("ValueType")


def infer(
    factory: Factory,
    widths: Sequence[int],
    user_roles: Mapping[str, Role] | None = None,
    splits: Mapping[str, MatrixLayout] | None = None,
    targets: bool = False,
) -> dict[str, ParameterReading]:
    """The reading of every parameter, by name, from the factory's models at two widths or more.

    `user_roles` are roles that the user sets, `splits` the pieces of fused matrices, both by
    patterns of parameter names. With `targets`, forward takes tokens and targets instead of tokens
    alone. Raises InvalidInput with a problem for every parameter whose role or split is not clear,
    and for every pattern that matches no parameter; also if the models cannot be built or run, or
    the names of their parameters differ.
    """
    user_roles, splits = user_roles or {}, splits or {}
    models = {width: build_module(factory, width) for width in sorted(set(widths))}
    shapes = {
        width: {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        for width, model in models.items()
    }
    if len(models) < 2:
        message = "roles are read off a model at two widths; give a second width"
        raise InvalidInput.of(FACTORY_FIELD, message, list(widths))
    _require_same_names(shapes)
    narrowest = min(models)
    uses_by_name = parameter_uses(models[narrowest], 2 if targets else 1)
    readings, problems = dict[str, ParameterReading](), list[Problem]()
    for name, shape in shapes[narrowest].items():
        own_shapes = [shapes_by_name[name] for shapes_by_name in shapes.values()]
        try:
            grows = growing_dimensions(own_shapes)
            user_role = matching_value(name, user_roles)
            reading = classify(shape, grows, uses_by_name.get(name, frozenset()), user_role)
            readings[name] = _with_split(reading, matching_value(name, splits), own_shapes)
        except Unclear as error:
            problems.append(Problem(ROLES_FIELD, f"parameter {name} of shape {shape}: {error}"))
    for field, patterns in ((ROLES_FIELD, user_roles), (SPLITS_FIELD, splits)):
        problems += _unmatched(field, patterns, shapes[narrowest])
    if problems:
        raise InvalidInput.because(tuple(problems))
    return readings


def _require_same_names(shapes: Mapping[int, Mapping[str, tuple[int, ...]]]) -> None:
    """Raise InvalidInput unless the parameters have the same names at all widths."""
    (narrowest, names), *wider = shapes.items()
    for width, wider_names in wider:
        if unshared := sorted(wider_names.keys() ^ names.keys()):
            message = (
                f"has other parameters at width {width} than at {narrowest} ({unshared[0]}); width "
                "may change the sizes of layers, not their number"
            )
            raise InvalidInput.of(FACTORY_FIELD, message)


def _unmatched(
    field: str, patterns: Mapping[str, object], names: Mapping[str, object]
) -> Iterator[Problem]:
    """Problems of the patterns that match no parameter."""
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            message = f"no parameter is named {pattern}; the model has {_some_names(names)}"
            yield Problem(field, message, pattern)


def matching_value(name: str, patterns: Mapping[str, ValueType]) -> ValueType | None:
    """The value whose pattern matches a parameter's name, or None. Raises Unclear if several
    patterns match and their values differ, since the order of patterns means nothing."""
    matching = {
        pattern: value for pattern, value in patterns.items() if fnmatch.fnmatchcase(name, pattern)
    }
    if len(set(matching.values())) > 1:
        raise Unclear(
            f"is named by several patterns that disagree ({', '.join(matching)}); let only "
            "one pattern match it"
        )
    return next(iter(matching.values()), None)


def _some_names(names: Mapping[str, object]) -> str:
    """The first four names and the number of others, for a message."""
    return ", ".join(list(names)[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _with_split(
    reading: ParameterReading, split: MatrixLayout | None, shapes: Sequence[tuple[int, ...]]
) -> ParameterReading:
    """The reading with the split that the user set for the parameter, if any. Raises Unclear if the
    split does not fit the parameter's role, or its shape at some width."""
    if split is None:
        return reading
    if reading.layout is None or reading.role is not Role.HIDDEN:
        raise Unclear(
            f"is {reading.role}, and only hidden matrices can be split; leave it out of "
            "model.splits"
        )
    layout = replace(reading.layout, parts=split.parts, block_rows=split.block_rows)
    for problem in filter(None, (layout.problem(shape) for shape in shapes)):
        raise Unclear(f"{problem}; change its entry in model.splits")
    return replace(reading, layout=layout)


def build_module(factory: Factory, width: int) -> nn.Module:
    """The factory's model at a width, on the CPU, with the same values at every call. Raises
    InvalidInput if the factory raises or returns anything but a module."""
    # on the CPU, even if the caller has set another default device
    with torch.random.fork_rng(devices=()), torch.device("cpu"):
        torch.manual_seed(0)
        try:
            model = factory(width)
        except Exception as error:  # a user's code can raise anything
            raise InvalidInput.of(
                FACTORY_FIELD, f"raised at width {width}: {type(error).__name__}: {error}"
            ) from error
    if not isinstance(model, nn.Module):
        raise InvalidInput.of(
            FACTORY_FIELD,
            f"must return a torch.nn.Module; at width {width} it returned a {type(model).__name__}",
        )
    return model


def parameter_uses(model: nn.Module, inputs: int) -> dict[str, frozenset[Use]]:
    """Every use of each parameter in a forward pass. `inputs` is the number of its arguments: 1 for
    tokens, 2 for tokens and targets. Raises InvalidInput if the forward pass fails.

    A first pass on two tokens shows the size of the smallest lookup table; a second pass then reads
    up to TRACED_TOKENS different tokens, enough to reach experts that receive few tokens.
    """
    try:
        with torch.device("cpu"):
            first_pass = uses(model, *[torch.arange(2)[None]] * inputs)
            table_sizes = [
                model.get_parameter(name).shape[min(use.inner)]
                for name in first_pass
                for use in first_pass[name]
                if use.kind == "lookup" and use.inner
            ]
            tokens = torch.arange(TRACED_TOKENS) % min(table_sizes, default=2)
            return uses(model, *[tokens.view(-1, 2)] * inputs)
    except Exception as error:  # a user's code can raise anything
        required = ("forward(tokens) must give logits", "forward(tokens, targets) must give a loss")
        message = (
            "its model cannot be run on integer tokens of shape (windows, 2): "
            f"{type(error).__name__}: {error}; {required[inputs - 1]}"
        )
        raise InvalidInput.of(FACTORY_FIELD, message) from error
