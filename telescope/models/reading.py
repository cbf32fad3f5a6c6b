"""The roles of a user's parameters, read off the model.

A user's model is built at two widths: its shapes show which dimensions grow, and a forward pass
(telescope.models.uses) shows which of them are fan_in and which fan_out. A role is never read from
a name or from the number of dimensions: an embedding and a head are matrices too, and may be
square. If shapes and forward pass leave a role open, the parameter is refused by name, and the user
sets its role.

| role      | fan_in | fan_out | examples                         |
|-----------|--------|---------|----------------------------------|
| EMBEDDING | fixed  | grows   | embeddings of tokens, positions  |
| HIDDEN    | grows  | grows   | attention and feed-forward       |
| READOUT   | grows  | fixed   | output head                      |
| VECTOR    | -      | either  | norm gains, biases               |

Parts: `Reading`, `infer` · `classify`, the table above as a rule.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn

from telescope.errors import InvalidInput, Problem
from telescope.models.factory import Factory
from telescope.models.uses import Use, uses
from telescope.parametrisation.layout import MatrixLayout
from telescope.parametrisation.roles import Role

ROLES_FIELD, SPLITS_FIELD, FACTORY_FIELD = "model.roles", "model.splits", "model.factory"
TRACED_TOKENS = 64
Said = TypeVar("Said")


# A user's model


@dataclass(frozen=True)
class Reading:
    """Role, layout and modules of one parameter of a user's model."""

    role: Role
    layout: MatrixLayout | None = None  # of its matrices; None for a VECTOR
    product_at: str | None = None  # path of the module that multiplies by it
    embedded_at: str | None = None  # path of the module that looks it up

    @property
    def makes_logits(self) -> bool:
        """True for a readout, or an embedding that is tied to one."""
        return self.role is Role.READOUT or (
            self.embedded_at is not None and self.product_at is not None
        )


class Unclear(Exception):
    """A role cannot be read; the text says why and what to do."""


def infer(
    factory: Factory,
    widths: Sequence[int],
    given: Mapping[str, Role] | None = None,
    splits: Mapping[str, MatrixLayout] | None = None,
    targets: bool = False,
) -> dict[str, Reading]:
    """The role of every parameter, read off the factory's models at two widths or more, the
    narrowest first; the narrowest one is run.

    `given` are roles that the user sets, `splits` the cuts of fused matrices, both by patterns of
    names; each pattern must fit some parameter. `targets`: forward takes tokens and targets,
    instead of tokens alone. Raises InvalidInput with every parameter whose role is not clear.
    """
    models = [built(factory, width) for width in sorted(set(widths))]
    shapes = [{name: tuple(p.shape) for name, p in model.named_parameters()} for model in models]
    if len(models) < 2:
        raise InvalidInput.of(
            FACTORY_FIELD,
            "roles are read off a model at two widths; give a second width",
            list(widths),
        )
    for wider, width in zip(shapes[1:], sorted(set(widths))[1:], strict=True):
        if odd := sorted(wider.keys() ^ shapes[0].keys()):
            message = (
                f"has other parameters at width {width} than at {min(widths)} ({odd[0]}); width "
                "may change the sizes of layers, not their number"
            )
            raise InvalidInput.of(FACTORY_FIELD, message)
    used = parameter_uses(models[0], 2 if targets else 1)
    result, problems = dict[str, Reading](), list[Problem]()
    for name, narrow in shapes[0].items():
        try:
            grows = growing([found[name] for found in shapes])
            said = the_one(name, {pattern: Role(role) for pattern, role in (given or {}).items()})
            reading = classify(narrow, grows, used.get(name, frozenset()), said)
            result[name] = with_split(
                reading, name, [found[name] for found in shapes], splits or {}
            )
        except Unclear as error:
            problems.append(Problem(ROLES_FIELD, f"parameter {name} of shape {narrow}: {error}"))
    for field, patterns in ((ROLES_FIELD, given or {}), (SPLITS_FIELD, splits or {})):
        for pattern in patterns:
            if not fnmatch.filter(shapes[0], pattern):
                problems.append(
                    Problem(
                        field,
                        f"no parameter is named {pattern}; the model has {few(shapes[0])}",
                        pattern,
                    )
                )
    if problems:
        raise InvalidInput.because(tuple(problems))
    return result


def the_one(name: str, patterns: Mapping[str, Said]) -> Said | None:
    """The value that the user set for a parameter, or None. Raises Unclear if several patterns fit
    it and disagree, since their order means nothing."""
    fitting = {
        pattern: said for pattern, said in patterns.items() if fnmatch.fnmatchcase(name, pattern)
    }
    if len(set(fitting.values())) > 1:
        raise Unclear(
            f"is named by several patterns that disagree ({', '.join(fitting)}); let a single pattern fit it"
        )
    return next(iter(fitting.values()), None)


def few(names: Mapping[str, object]) -> str:
    """Some of the names, for a message."""
    return ", ".join(list(names)[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def built(factory: Factory, width: int) -> nn.Module:
    """The model of a width, with the same values at every call. Raises InvalidInput if the factory
    raises or returns something else."""
    # whatever device a caller chose
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
    """Every use of each parameter in a forward pass, on as many different tokens as the model's own
    table has."""
    try:
        with torch.device("cpu"):
            first = uses(model, *[torch.arange(2)[None]] * inputs)
            tables = {
                name: use.inner
                for name, found in first.items()
                for use in found
                if use.kind == "lookup"
            }
            rows = [
                model.get_parameter(name).shape[min(inner)]
                for name, inner in tables.items()
                if inner
            ]
            # enough for experts that see few tokens
            many = (torch.arange(TRACED_TOKENS) % min(rows, default=2)).view(-1, 2)
            return uses(model, *[many] * inputs)
    except Exception as error:  # a user's code can raise anything
        message = f"its model cannot be run on tokens of shape (1, 2): {type(error).__name__}: {error}; forward(tokens) must give logits"
        raise InvalidInput.of(FACTORY_FIELD, message) from error


def growing(shapes: Sequence[tuple[int, ...]]) -> tuple[bool, ...]:
    """For each dimension, whether it grows with width."""
    if len({len(shape) for shape in shapes}) > 1:
        raise Unclear(
            f"has another number of dimensions at another width ({shapes[-1]}); telescope cannot scale that"
        )
    sizes = list(zip(*shapes, strict=True))
    if any(b < a for of in sizes for a, b in pairwise(of)):
        raise Unclear(f"shrinks as width grows ({shapes[-1]}); telescope cannot scale that")
    return tuple(of[-1] > of[0] for of in sizes)


def classify(
    shape: tuple[int, ...], grows: tuple[bool, ...], used: frozenset[Use], said: Role | None = None
) -> Reading:
    """The role and layout of a parameter, from the dimensions that grow and those that products sum
    over. Raises Unclear if these do not decide, or contradict `said`, the role that the user
    set."""
    dims = tuple(d for d in range(len(shape)) if shape[d] > 1 or grows[d])
    products = {replace(use, module="") for use in used if use.kind in ("product", "convolution")}
    lookups = [use for use in used if use.kind == "lookup"]
    summed = any(grows[d] for use in products for d in use.inner)  # a matrix of one row
    if said is Role.VECTOR or (said is None and len(dims) <= 1 and not lookups and not summed):
        return Reading(Role.VECTOR)
    if lookups:
        return lookup_reading(grows, used, said)
    if not products:
        return unsummed(grows, used, said, len(shape))
    inner, stack = fan_in_and_stack(products, shape, grows)
    rows = tuple(d for d in range(len(shape)) if d not in inner | stack)
    if any(grows[d] for d in stack):
        raise Unclear(
            "the number of its matrices grows with width; only the sides of matrices may grow"
        )
    role = said or role_of(any(grows[d] for d in inner), any(grows[d] for d in rows))
    sites = {use.module for use in used if use.kind in ("product", "convolution")}
    layout = MatrixLayout(rows, tuple(sorted(inner)), tuple(sorted(stack)))
    return Reading(role, layout, product_at=sites.pop() if len(sites) == 1 else None)


def role_of(fan_in_grows: bool, fan_out_grows: bool) -> Role:
    """The role in the table."""
    match fan_in_grows, fan_out_grows:
        case True, True:
            return Role.HIDDEN
        case True, False:
            return Role.READOUT
        case False, True:
            return Role.EMBEDDING
    raise Unclear(
        "is a matrix that does not grow with width; set its role in model.roles, vector for a constant lr without weight decay"
    )


def lookup_reading(grows: tuple[bool, ...], used: frozenset[Use], said: Role | None) -> Reading:
    """The reading of a parameter that is looked up: an embedding, perhaps tied to the readout."""
    lookups = [use for use in used if use.kind == "lookup"]
    looked = frozenset().union(*(use.inner for use in lookups))
    if any(grows[d] for d in looked):
        raise Unclear(
            "is looked up in a dimension that grows with width; a vocabulary may not grow"
        )
    readouts = [use for use in used if use.kind == "product"]
    if any(use.inner & looked for use in readouts):
        raise Unclear(
            "is looked up in the dimension that a product sums over; set its role in model.roles"
        )
    rows = tuple(d for d in range(len(grows)) if d not in looked)
    product_at = readouts[0].module if readouts else None
    return Reading(
        said or Role.EMBEDDING,
        MatrixLayout(rows, tuple(sorted(looked))),
        product_at,
        lookups[0].module,
    )


def unsummed(
    grows: tuple[bool, ...], used: frozenset[Use], said: Role | None, dimensions: int
) -> Reading:
    """The reading of a parameter that no product sums over: a table of positions that is added, or
    one that only the user can name."""
    if not used and said is None:
        raise Unclear(
            "takes no part in forward(tokens); set its role in model.roles, or leave it out of the model"
        )
    outer = tuple(d for d in range(dimensions) if grows[d])
    if said is None and len(outer) != 1:
        raise Unclear("is a matrix that no product sums over; set its role in model.roles")
    fixed = tuple(d for d in range(dimensions) if d not in outer)
    if said in (Role.HIDDEN, Role.READOUT):
        if dimensions != 2:
            raise Unclear(
                f"cannot be {said}: nothing tells which of its dimensions are fan_in; use embedding or vector"
            )
        return Reading(said, MatrixLayout())
    return Reading(said or Role.EMBEDDING, MatrixLayout(outer, fixed))


def fan_in_and_stack(
    products: set[Use], shape: tuple[int, ...], grows: tuple[bool, ...]
) -> tuple[frozenset[int], frozenset[int]]:
    """(fan_in, stack) of a parameter, which must be the same for all its products.

    A product may sum over the experts of a stack, too, as einsum does: a leading dimension that
    does not grow still counts matrices.
    """
    summed = set()
    for use in products:
        leads = use.kind == "product" and len(shape) > 2 and not grows[0] and shape[0] > 1
        stack = use.stack | ({0} if leads else frozenset())
        summed.add((use.inner - stack, frozenset(stack)))
    if len(summed) > 1:
        raise Unclear(
            "is used by products that sum over different dimensions of it; use a separate parameter for each"
        )
    inner, stack = summed.pop()
    if not inner:
        raise Unclear(
            "takes part in products, but none of its dimensions is clearly summed over; set its role in model.roles"
        )
    return inner, stack


def with_split(
    reading: Reading,
    name: str,
    shapes: Sequence[tuple[int, ...]],
    splits: Mapping[str, MatrixLayout],
) -> Reading:
    """The reading with the split that the user set, which must fit at every width."""
    cut = the_one(name, splits)
    if cut is None:
        return reading
    if reading.layout is None or reading.role is not Role.HIDDEN:
        raise Unclear(
            f"is {reading.role}, and only hidden matrices can be split; leave it out of splits"
        )
    layout = replace(reading.layout, parts=cut.parts, block_rows=cut.block_rows)
    for problem in filter(None, (layout.problem(shape) for shape in shapes)):
        raise Unclear(f"{problem}; change its entry in splits")
    return replace(reading, layout=layout)
