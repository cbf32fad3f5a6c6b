"""The role and layout of a parameter, from its shapes at several widths and its uses.

A role is never read from a name or from the number of dimensions: embeddings and output heads are
matrices too, and may be square. Shapes show which dimensions grow with width; the uses in a forward
pass (telescope.models.uses) show which dimensions are fan_in and which are fan_out.

| role      | fan_in | fan_out | examples                         |
|-----------|--------|---------|----------------------------------|
| EMBEDDING | fixed  | grows   | embeddings of tokens, positions  |
| HIDDEN    | grows  | grows   | attention and feed-forward       |
| READOUT   | grows  | fixed   | output head                      |
| VECTOR    | -      | either  | norm gains, biases               |

Parts: `ParameterReading`, the result · `growing_dimensions` · `classify`, which applies the table ·
`Unclear`, raised if shapes and uses do not decide the role.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from telescope.models.uses import Use
from telescope.parametrisation.layout import MatrixLayout
from telescope.parametrisation.roles import Role


@dataclass(frozen=True)
class ParameterReading:
    """What telescope reads off a user's model about one parameter: role, layout and modules."""

    role: Role
    layout: MatrixLayout | None = None  # None for a VECTOR
    # paths of the modules that use the parameter in a product and in a lookup; product_at is also
    # None if several modules use an untied parameter in products
    product_at: str | None = None
    embedded_at: str | None = None

    @property
    def makes_logits(self) -> bool:
        """True for a readout, or for an embedding that is tied to a readout."""
        is_tied = self.embedded_at is not None and self.product_at is not None
        return self.role is Role.READOUT or is_tied


class Unclear(Exception):
    """Raised if a parameter's role or split is not clear; the text says why and what to do."""


def growing_dimensions(shapes: Sequence[tuple[int, ...]]) -> tuple[bool, ...]:
    """For each dimension of a parameter, True if the dimension grows with width. `shapes` are the
    parameter's shapes at increasing widths. Raises Unclear if a dimension shrinks, or the number of
    dimensions changes."""
    if len({len(shape) for shape in shapes}) > 1:
        raise Unclear(
            f"has another number of dimensions at another width ({shapes[-1]}); telescope cannot "
            "scale that"
        )
    sizes_by_dimension = list(zip(*shapes, strict=True))
    if any(wide < narrow for sizes in sizes_by_dimension for narrow, wide in pairwise(sizes)):
        raise Unclear(f"shrinks as width grows ({shapes[-1]}); telescope cannot scale that")
    return tuple(sizes[-1] > sizes[0] for sizes in sizes_by_dimension)


def classify(
    shape: tuple[int, ...],
    grows: tuple[bool, ...],
    uses: frozenset[Use],
    user_role: Role | None = None,
) -> ParameterReading:
    """The reading of a parameter; `grows` is True for each dimension that grows with width.

    Raises Unclear if shape and uses do not decide the role, or contradict `user_role`, the role
    that the user set.
    """
    dimensions = tuple(d for d in range(len(shape)) if shape[d] > 1 or grows[d])
    products = {replace(use, module="") for use in uses if use.kind in ("product", "convolution")}
    lookups = [use for use in uses if use.kind == "lookup"]
    # a parameter of one growing dimension is a matrix of one row if a product sums over it
    sums_growing = any(grows[d] for use in products for d in use.inner)
    is_vector = len(dimensions) <= 1 and not lookups and not sums_growing
    if user_role is Role.VECTOR or (user_role is None and is_vector):
        return ParameterReading(Role.VECTOR)
    if lookups:
        return _lookup_reading(grows, uses, user_role)
    if not products:
        return _reading_without_products(grows, uses, user_role, len(shape))
    inner, stack = _fan_in_and_stack(products, shape, grows)
    rows = tuple(d for d in range(len(shape)) if d not in inner | stack)
    if any(grows[d] for d in stack):
        raise Unclear(
            "the number of its matrices grows with width; only the sides of matrices may grow"
        )
    role = user_role or _role_of(any(grows[d] for d in inner), any(grows[d] for d in rows))
    modules = {use.module for use in uses if use.kind in ("product", "convolution")}
    layout = MatrixLayout(rows, tuple(sorted(inner)), tuple(sorted(stack)))
    return ParameterReading(role, layout, product_at=modules.pop() if len(modules) == 1 else None)


def _role_of(fan_in_grows: bool, fan_out_grows: bool) -> Role:
    """The role in the table of this module. Raises Unclear if neither side grows."""
    match fan_in_grows, fan_out_grows:
        case True, True:
            return Role.HIDDEN
        case True, False:
            return Role.READOUT
        case False, True:
            return Role.EMBEDDING
    raise Unclear(
        "is a matrix that does not grow with width; set its role in model.roles, vector for a "
        "constant lr without weight decay"
    )


def _lookup_reading(
    grows: tuple[bool, ...], uses: frozenset[Use], user_role: Role | None
) -> ParameterReading:
    """The reading of a parameter that is looked up: an embedding, which may be tied to the
    readout."""
    lookups = [use for use in uses if use.kind == "lookup"]
    vocabulary = frozenset().union(*(use.inner for use in lookups))
    if any(grows[d] for d in vocabulary):
        raise Unclear(
            "is looked up in a dimension that grows with width; a vocabulary may not grow"
        )
    readouts = [use for use in uses if use.kind == "product"]
    if any(use.inner & vocabulary for use in readouts):
        raise Unclear(
            "is looked up in the dimension that a product sums over; set its role in model.roles"
        )
    rows = tuple(d for d in range(len(grows)) if d not in vocabulary)
    return ParameterReading(
        user_role or Role.EMBEDDING,
        MatrixLayout(rows, tuple(sorted(vocabulary))),
        product_at=readouts[0].module if readouts else None,
        embedded_at=lookups[0].module,
    )


def _reading_without_products(
    grows: tuple[bool, ...], uses: frozenset[Use], user_role: Role | None, ndim: int
) -> ParameterReading:
    """The reading of a parameter that no product sums over: a table of positions, which is added to
    the activations, or a parameter whose role the user set."""
    if not uses and user_role is None:
        raise Unclear(
            "takes no part in forward(tokens); set its role in model.roles, or leave it out of the "
            "model"
        )
    growing = tuple(d for d in range(ndim) if grows[d])
    if user_role is None and len(growing) != 1:
        raise Unclear("is a matrix that no product sums over; set its role in model.roles")
    fixed = tuple(d for d in range(ndim) if d not in growing)
    if user_role in (Role.HIDDEN, Role.READOUT):
        if ndim != 2:
            raise Unclear(
                f"cannot be {user_role}: nothing tells which of its dimensions are fan_in; use "
                "embedding or vector"
            )
        return ParameterReading(user_role, MatrixLayout())
    return ParameterReading(user_role or Role.EMBEDDING, MatrixLayout(growing, fixed))


def _fan_in_and_stack(
    products: set[Use], shape: tuple[int, ...], grows: tuple[bool, ...]
) -> tuple[frozenset[int], frozenset[int]]:
    """(dimensions that form fan_in, dimensions that index separate matrices). Raises Unclear if
    products differ in them, or if no dimension forms fan_in.

    A product may also sum over the experts of a stack, as einsum does. So a leading dimension that
    does not grow indexes matrices, even if a product sums over it.
    """
    pairs = set()
    for use in products:
        is_stacked = use.kind == "product" and len(shape) > 2 and not grows[0] and shape[0] > 1
        stack = use.stack | ({0} if is_stacked else frozenset())
        pairs.add((use.inner - stack, frozenset(stack)))
    if len(pairs) > 1:
        raise Unclear(
            "is used by products that sum over different dimensions of it; use a separate "
            "parameter for each"
        )
    inner, stack = pairs.pop()
    if not inner:
        raise Unclear(
            "takes part in products, but none of its dimensions is clearly summed over; set its "
            "role in model.roles"
        )
    return inner, stack
