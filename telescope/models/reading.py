"""Finds the roles of the parameters of a user's model.

The *role* of a parameter (embedding, hidden, readout or vector) says how the parameter grows with
width, and selects its muP rules. To find the roles, `infer` builds the user's model at two widths
or more, and runs two forward passes of the narrowest model on a few tokens. The second pass shows
how each parameter is used. telescope.models.classification decides the role of a parameter from its
shapes and its uses. If shapes and uses do not decide the role, `infer` raises an error that names
the parameter and a remedy. In most cases, the remedy is to set the role in the field `model.roles`
of the job.
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
TRACED_TOKENS = 64  # largest number of different token ids in the second forward pass
ValueType = TypeVar("ValueType")


def infer(
    factory: Factory,
    widths: Sequence[int],
    user_roles: Mapping[str, Role] | None = None,
    splits: Mapping[str, MatrixLayout] | None = None,
    targets: bool = False,
) -> dict[str, ParameterReading]:
    """The ParameterReading of every parameter, by name, from models at two or more `widths`.

    `user_roles` maps patterns of parameter names to the roles that the user sets. `splits` maps
    such patterns to layouts, which state the pieces into which Muon splits a matrix. `targets` is
    True if forward takes tokens and targets, and False if forward takes tokens alone.

    Raises InvalidInput if there are fewer than two widths, if the models cannot be built or run, or
    if the names of their parameters differ between widths. Otherwise, raises InvalidInput with one
    problem for every parameter whose role or split is not clear, and for every pattern that matches
    no parameter.
    """
    user_roles, splits = user_roles or {}, splits or {}
    models = {width: build_module(factory, width) for width in sorted(set(widths))}
    shapes = {
        width: {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        for width, model in models.items()
    }
    if len(models) < 2:
        message = "roles are found from models of two or more widths; give a second width"
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
            readings[name] = _with_split(reading, name, splits, own_shapes)
        except Unclear as error:
            problems.append(Problem(error.field, f"parameter {name} of shape {shape}: {error}"))
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
                "may change the shapes of parameters, but neither their number nor their names"
            )
            raise InvalidInput.of(FACTORY_FIELD, message)


def _unmatched(
    field: str, patterns: Mapping[str, object], names: Mapping[str, object]
) -> Iterator[Problem]:
    """One problem for each pattern that matches no parameter."""
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            message = f"no parameter is named {pattern}; the model has {_some_names(names)}"
            yield Problem(field, message, pattern)


def matching_value(
    name: str, patterns: Mapping[str, ValueType], field: str = ROLES_FIELD
) -> ValueType | None:
    """The value of the pattern that matches a parameter's name. None if no pattern matches. Raises
    Unclear if several patterns match and their values differ, since no pattern takes precedence
    over another. `field` is the field of the job that holds the patterns."""
    matching = {
        pattern: value for pattern, value in patterns.items() if fnmatch.fnmatchcase(name, pattern)
    }
    if len(set(matching.values())) > 1:
        raise Unclear(
            f"is named by several patterns that disagree ({', '.join(matching)}); let only "
            "one pattern match it",
            field,
        )
    return next(iter(matching.values()), None)


def _some_names(names: Mapping[str, object]) -> str:
    """Text for a message: the first four names, and the number of further names."""
    return ", ".join(list(names)[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _with_split(
    reading: ParameterReading,
    name: str,
    splits: Mapping[str, MatrixLayout],
    shapes: Sequence[tuple[int, ...]],
) -> ParameterReading:
    """The reading of a parameter with the split that the user set for it. Returns the reading
    unchanged if the user set none. Raises Unclear if several patterns disagree about the split, if
    the parameter is not a hidden matrix, or if the split does not fit the shape that the parameter
    has at one of the widths."""
    split = matching_value(name, splits, SPLITS_FIELD)
    if split is None:
        return reading
    if reading.layout is None or reading.role is not Role.HIDDEN:
        raise Unclear(
            f"has the role {reading.role}, but only hidden matrices can be split; leave it out of "
            "model.splits",
            SPLITS_FIELD,
        )
    layout = replace(reading.layout, parts=split.parts, block_rows=split.block_rows)
    for problem in filter(None, (layout.problem(shape) for shape in shapes)):
        raise Unclear(f"{problem}; change its entry in model.splits", SPLITS_FIELD)
    return replace(reading, layout=layout)


def build_module(factory: Factory, width: int) -> nn.Module:
    """The model that the factory builds at a width, on the CPU. Every call seeds torch's random
    numbers with the same seed. Raises InvalidInput if the factory raises an exception or does not
    return a module."""
    # on the CPU, even if the caller has set another default device
    with torch.random.fork_rng(devices=()), torch.device("cpu"):
        torch.manual_seed(0)
        try:
            model = factory(width)
        except Exception as error:  # a user's code can raise anything
            raise InvalidInput.of(
                FACTORY_FIELD,
                f"raised at width {width}: {type(error).__name__}: {error}; let it build a model "
                "at every width",
            ) from error
    if not isinstance(model, nn.Module):
        raise InvalidInput.of(
            FACTORY_FIELD,
            f"must return a torch.nn.Module; at width {width} it returned a {type(model).__name__}",
        )
    return model


def parameter_uses(model: nn.Module, inputs: int) -> dict[str, frozenset[Use]]:
    """Every use of each parameter in a forward pass, by the parameter's name. `inputs` is the
    number of arguments of forward: 1 for tokens, 2 for tokens and targets. Raises InvalidInput if
    the forward pass fails.

    A first pass on two tokens shows the size of the smallest lookup table, which limits the token
    ids. A second pass then uses up to TRACED_TOKENS different token ids, so that experts that
    receive few tokens are probably used, too. The result describes the second pass.
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
