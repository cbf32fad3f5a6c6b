"""The roles of a user's parameters, read off the model.

A user's model is built at two widths: its shapes tell which dimensions grow, and a forward pass
(telescope.models.uses) which of them are fan_in and which fan_out. A role is never read from a name
or from the number of dimensions: an embedding and a head are matrices too, and may be square. What
neither tells is refused by name, and the user says it.

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
from telescope.parametrisation.layout import Layout
from telescope.parametrisation.roles import Role

ROLES_FIELD, SPLITS_FIELD, FACTORY_FIELD = "model.roles", "model.splits", "model.factory"
TRACED_TOKENS = 64
Said = TypeVar("Said")


# A user's model


@dataclass(frozen=True)
class Reading:
    """What is known of one parameter of a user's model."""

    role: Role
    layout: Layout | None = None  # of its matrices; None for a VECTOR
    product_at: str | None = None  # path of the one module that multiplies by it
    embedded_at: str | None = None  # path of the module that looks it up

    @property
    def makes_logits(self) -> bool:
        """A readout, or an embedding that is tied to one."""
        return self.role is Role.READOUT or (
            self.embedded_at is not None and self.product_at is not None
        )


class Unclear(Exception):
    """Why a role cannot be read; the text says what to do."""


def infer(
    factory: Factory,
    widths: Sequence[int],
    given: Mapping[str, Role] | None = None,
    splits: Mapping[str, Layout] | None = None,
    targets: bool = False,
) -> dict[str, Reading]:
    """Every parameter's role, by building the factory's model at two widths or more, the narrowest
    first, and running the narrowest.

    `given` are roles that the user says, `splits` how fused matrices are cut up, both by patterns
    of names; each must fit some parameter. `targets`: forward takes tokens and targets, instead of
    tokens alone. Raises InvalidInput with every parameter whose role is not clear.
    """
    models = [built(factory, width) for width in sorted(set(widths))]
    shapes = [{name: tuple(p.shape) for name, p in model.named_parameters()} for model in models]
    if len(models) < 2:
        raise InvalidInput.of(
            FACTORY_FIELD, "needs two widths to be read; give a second one", list(widths)
        )
    for found, width in zip(shapes[1:], sorted(set(widths))[1:], strict=True):
        if odd := sorted(found.keys() ^ shapes[0].keys()):
            message = (
                f"has other parameters at width {width} than at {min(widths)} ({odd[0]}); only "
                "widths may grow, not numbers of layers"
            )
            raise InvalidInput.of(FACTORY_FIELD, message)
    used = watched(models[0], 2 if targets else 1)
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
    """What is said of a parameter; Unclear where patterns that fit it disagree, for their order
    says nothing."""
    fitting = {
        pattern: said for pattern, said in patterns.items() if fnmatch.fnmatchcase(name, pattern)
    }
    if len(set(fitting.values())) > 1:
        raise Unclear(
            f"is named by several patterns that disagree ({', '.join(fitting)}); let one fit it"
        )
    return next(iter(fitting.values()), None)


def few(names: Mapping[str, object]) -> str:
    """Some of the names."""
    return ", ".join(list(names)[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def built(factory: Factory, width: int) -> nn.Module:
    """The model of a width, always the same; InvalidInput where the factory raises or gives
    something else."""
    # whichever device is chosen around
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
            f"must return a torch.nn.Module; at width {width} it gave a {type(model).__name__}",
        )
    return model


def watched(model: nn.Module, inputs: int) -> dict[str, frozenset[Use]]:
    """How a forward pass uses each parameter; of as many different tokens as the model's own table
    has."""
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
            # for experts that see few tokens
            many = (torch.arange(TRACED_TOKENS) % min(rows, default=2)).view(-1, 2)
            return uses(model, *[many] * inputs)
    except Exception as error:  # a user's code can raise anything
        message = (
            f"its model cannot be run on tokens of shape (1, 2): {type(error).__name__}: "
            f"{error}; forward(tokens) must give logits"
        )
        raise InvalidInput.of(FACTORY_FIELD, message) from error


def growing(shapes: Sequence[tuple[int, ...]]) -> tuple[bool, ...]:
    """Which dimensions grow with width."""
    if len({len(shape) for shape in shapes}) > 1:
        raise Unclear(
            f"has another number of dimensions at another width ({shapes[-1]}); telescope "
            "cannot scale that"
        )
    sizes = list(zip(*shapes, strict=True))
    if any(b < a for of in sizes for a, b in pairwise(of)):
        raise Unclear(f"shrinks as width grows ({shapes[-1]}); telescope cannot scale that")
    return tuple(of[-1] > of[0] for of in sizes)


def classify(
    shape: tuple[int, ...], grows: tuple[bool, ...], used: frozenset[Use], said: Role | None = None
) -> Reading:
    """The table: from what grows and what a product sums over. Raises Unclear where that does not
    decide, or contradicts what is said."""
    dims = tuple(d for d in range(len(shape)) if shape[d] > 1 or grows[d])
    products = {replace(use, module="") for use in used if use.kind in ("product", "convolution")}
    lookups = [use for use in used if use.kind == "lookup"]
    summed = any(grows[d] for use in products for d in use.inner)  # a matrix of one row
    if said is Role.VECTOR or (said is None and len(dims) <= 1 and not lookups and not summed):
        return Reading(Role.VECTOR)
    if lookups:
        return looked_up(grows, used, said)
    if not products:
        return unsummed(grows, used, said, len(shape))
    inner, stack = sides(products, shape, grows)
    rows = tuple(d for d in range(len(shape)) if d not in inner | stack)
    if any(grows[d] for d in stack):
        raise Unclear("the number of its matrices grows with width; only their sides may")
    role = said or role_of(any(grows[d] for d in inner), any(grows[d] for d in rows))
    sites = {use.module for use in used if use.kind in ("product", "convolution")}
    layout = Layout(rows, tuple(sorted(inner)), tuple(sorted(stack)))
    return Reading(role, layout, product_at=sites.pop() if len(sites) == 1 else None)


def role_of(fan_in_grows: bool, fan_out_grows: bool) -> Role:
    """A row of the table."""
    match fan_in_grows, fan_out_grows:
        case True, True:
            return Role.HIDDEN
        case True, False:
            return Role.READOUT
        case False, True:
            return Role.EMBEDDING
    raise Unclear(
        "is a matrix that does not grow with width; say its role, vector for a constant lr "
        "without weight decay"
    )


def looked_up(grows: tuple[bool, ...], used: frozenset[Use], said: Role | None) -> Reading:
    """A table: of embeddings, and perhaps of logits too."""
    lookups = [use for use in used if use.kind == "lookup"]
    looked = frozenset().union(*(use.inner for use in lookups))
    if any(grows[d] for d in looked):
        raise Unclear("is looked up in a dimension that grows with width; a vocabulary may not")
    readouts = [use for use in used if use.kind == "product"]
    if any(use.inner & looked for use in readouts):
        raise Unclear("is looked up in the dimension that a product sums over; say its role")
    rows = tuple(d for d in range(len(grows)) if d not in looked)
    product_at = readouts[0].module if readouts else None
    return Reading(
        said or Role.EMBEDDING, Layout(rows, tuple(sorted(looked))), product_at, lookups[0].module
    )


def unsummed(
    grows: tuple[bool, ...], used: frozenset[Use], said: Role | None, dimensions: int
) -> Reading:
    """A parameter that meets no sum: a table of positions that is added, or something that nobody
    but the user knows."""
    if not used and said is None:
        raise Unclear(
            "takes no part in forward(tokens); say its role, or leave it out of the model"
        )
    outer = tuple(d for d in range(dimensions) if grows[d])
    if said is None and len(outer) != 1:
        raise Unclear("is a matrix that no product sums over; say its role")
    fixed = tuple(d for d in range(dimensions) if d not in outer)
    if said in (Role.HIDDEN, Role.READOUT):
        if dimensions != 2:
            raise Unclear(
                f"cannot be {said}: nothing tells which of its dimensions are fan_in; use "
                "embedding or vector"
            )
        return Reading(said, Layout())
    return Reading(said or Role.EMBEDDING, Layout(outer, fixed))


def sides(
    products: set[Use], shape: tuple[int, ...], grows: tuple[bool, ...]
) -> tuple[frozenset[int], frozenset[int]]:
    """(fan_in, stack) of a parameter, on which all its products must agree.

    Where a sum runs over the experts of a stack too, as einsum has it, a leading dimension that
    does not grow counts matrices all the same.
    """
    found = set()
    for use in products:
        leads = use.kind == "product" and len(shape) > 2 and not grows[0] and shape[0] > 1
        stack = use.stack | ({0} if leads else frozenset())
        found.add((use.inner - stack, frozenset(stack)))
    if len(found) > 1:
        raise Unclear(
            "is used by products that sum over different dimensions of it; give each use a "
            "parameter of its own"
        )
    inner, stack = found.pop()
    if not inner:
        raise Unclear("is summed over in no dimension that can be told; say its role")
    return inner, stack


def with_split(
    reading: Reading, name: str, shapes: Sequence[tuple[int, ...]], splits: Mapping[str, Layout]
) -> Reading:
    """With the cut that the user asks for, which must fit at every width."""
    cut = the_one(name, splits)
    if cut is None:
        return reading
    if reading.layout is None or reading.role is not Role.HIDDEN:
        raise Unclear(
            f"is {reading.role}, and only hidden matrices are cut up; leave it out of splits"
        )
    layout = replace(reading.layout, parts=cut.parts, block_rows=cut.block_rows)
    for problem in filter(None, (layout.problem(shape) for shape in shapes)):
        raise Unclear(f"{problem}; change its entry in splits")
    return replace(reading, layout=layout)
