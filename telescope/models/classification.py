"""Finds the role and the layout of each parameter of a user's model.

The *role* of a parameter says how the parameter grows with width, and selects its muP rules. The
*layout* says which dimensions of the parameter are fan_in and which are fan_out.

Names do not decide a role. The number of dimensions does not decide it either, since embeddings,
hidden matrices and output heads all have two dimensions. Instead, the shapes of a parameter at
several widths show which of its dimensions grow with width. The uses of the parameter in a forward
pass (telescope.models.uses) show which dimensions are fan_in and which are fan_out. Unless the user
has set the role, this table then gives it:

| role      | fan_in | fan_out | examples                         |
|-----------|--------|---------|----------------------------------|
| EMBEDDING | fixed  | grows   | embeddings of tokens, positions  |
| HIDDEN    | grows  | grows   | attention and feed-forward       |
| READOUT   | grows  | fixed   | output head                      |
| VECTOR    | none   | either  | norm gains, biases               |

In the table, "grows" means that the side grows with width, and "fixed" means that it does not. A
VECTOR has no fan_in. Its fan_out may grow or not. A parameter that is looked up by index is an
EMBEDDING even if its fan_out is fixed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from telescope.models.uses import Use
from telescope.parametrisation.layout import MatrixLayout
from telescope.parametrisation.roles import Role


@dataclass(frozen=True)
class ParameterReading:
    """What telescope finds out about one parameter of a user's model: its role, its layout, and the
    modules that use the parameter."""

    role: Role
    layout: MatrixLayout | None = None  # None for a VECTOR
    # path of the module that multiplies by the parameter; None for a VECTOR, or if no module does.
    # If several modules multiply by the parameter, the path of one of them if the parameter is also
    # looked up, and otherwise None.
    product_at: str | None = None
    # path of a module that looks the parameter up; None for a VECTOR, or if no module does
    embedded_at: str | None = None

    @property
    def makes_logits(self) -> bool:
        """True for a READOUT, and for a parameter that is both looked up and used in a product,
        such as an embedding that also serves as the output head (a tied head)."""
        is_tied = self.embedded_at is not None and self.product_at is not None
        return self.role is Role.READOUT or is_tied


class Unclear(Exception):
    """Raised if the role of a parameter is not clear, or if its split into pieces is not. The text
    of the exception says why, and what the user can do. `field` is the field of the job that
    sets roles or splits."""

    def __init__(self, text: str, field: str = "model.roles") -> None:
        super().__init__(text)
        self.field = field


def growing_dimensions(shapes: Sequence[tuple[int, ...]]) -> tuple[bool, ...]:
    """For each dimension of a parameter, True if the dimension grows with width. `shapes` are the
    parameter's shapes at increasing widths. Raises Unclear if a dimension shrinks as width grows,
    or if the number of dimensions differs between widths."""
    if len({len(shape) for shape in shapes}) > 1:
        raise Unclear(
            f"has a different number of dimensions at a larger width (shape {shapes[-1]}); keep "
            "the number of dimensions the same at every width"
        )
    sizes_by_dimension = list(zip(*shapes, strict=True))
    if any(wide < narrow for sizes in sizes_by_dimension for narrow, wide in pairwise(sizes)):
        raise Unclear(
            f"shrinks as width grows (to shape {shapes[-1]}); let every dimension grow with width, "
            "or stay the same"
        )
    return tuple(sizes[-1] > sizes[0] for sizes in sizes_by_dimension)


def classify(
    shape: tuple[int, ...],
    grows: tuple[bool, ...],
    uses: frozenset[Use],
    user_role: Role | None = None,
) -> ParameterReading:
    """The reading of one parameter. `shape` is its shape at the smallest width. For each dimension,
    `grows` states whether the dimension grows with width.

    `user_role` is the role that the user set; it takes precedence over the table. Raises Unclear if
    shape and uses do not decide the role and the layout, if they do not fit `user_role`, or if the
    number of matrices that the parameter holds grows with width.
    """
    dimensions = tuple(d for d in range(len(shape)) if shape[d] > 1 or grows[d])
    products = {replace(use, module="") for use in uses if use.kind in ("product", "convolution")}
    lookups = [use for use in uses if use.kind == "lookup"]
    # A parameter with a single dimension (not counting dimensions of size 1) is usually a vector.
    # But if this dimension grows with width and a product sums over it, the parameter is a matrix
    # of one row.
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
            "holds more matrices at a larger width; keep the number of matrices the same at every "
            "width"
        )
    role = user_role or _role_of(any(grows[d] for d in inner), any(grows[d] for d in rows))
    modules = {use.module for use in uses if use.kind in ("product", "convolution")}
    layout = MatrixLayout(rows, tuple(sorted(inner)), tuple(sorted(stack)))
    return ParameterReading(role, layout, product_at=modules.pop() if len(modules) == 1 else None)


def _role_of(fan_in_grows: bool, fan_out_grows: bool) -> Role:
    """The role in the table at the top of this file. Raises Unclear if neither fan_in nor fan_out
    grows."""
    match fan_in_grows, fan_out_grows:
        case True, True:
            return Role.HIDDEN
        case True, False:
            return Role.READOUT
        case False, True:
            return Role.EMBEDDING
    raise Unclear(
        "is a matrix that does not grow with width; set its role in model.roles (with the role "
        "vector, it has the same lr at every width, and no weight decay)"
    )


def _lookup_reading(
    grows: tuple[bool, ...], uses: frozenset[Use], user_role: Role | None
) -> ParameterReading:
    """The reading of a parameter that is looked up. Its role is EMBEDDING, unless the user set
    another role. If a product also uses the parameter, the reading names the module of the product.
    Raises Unclear if the dimension that is looked up grows with width, or if a product sums over
    this dimension."""
    lookups = [use for use in uses if use.kind == "lookup"]
    vocabulary = frozenset().union(*(use.inner for use in lookups))
    if any(grows[d] for d in vocabulary):
        raise Unclear(
            "is looked up in a dimension that grows with width; keep the size of this dimension "
            "(the vocabulary) the same at every width"
        )
    readouts = [use for use in uses if use.kind == "product"]
    if any(use.inner & vocabulary for use in readouts):
        raise Unclear(
            "is looked up in the same dimension that a product sums over; use separate parameters "
            "for the lookup and the product, or set its role to vector in model.roles"
        )
    rows = tuple(d for d in range(len(grows)) if d not in vocabulary)
    return ParameterReading(
        user_role or Role.EMBEDDING,
        MatrixLayout(rows, tuple(sorted(vocabulary))),
        product_at=min(use.module for use in readouts) if readouts else None,
        embedded_at=min(use.module for use in lookups),
    )


def _reading_without_products(
    grows: tuple[bool, ...], uses: frozenset[Use], user_role: Role | None, ndim: int
) -> ParameterReading:
    """The reading of a parameter that is neither looked up nor part of a product.

    Without `user_role`, such a parameter is read as a table of positions, which is added to the
    activations. Its role is EMBEDDING. Raises Unclear if the forward pass does not use the
    parameter, or if the number of its growing dimensions is not exactly one. If the user set the
    role EMBEDDING, these two conditions are not checked. If the user set HIDDEN or READOUT, the
    parameter is read as a matrix of shape (fan_out, fan_in). Raises Unclear if the parameter does
    not have two dimensions.
    """
    if not uses and user_role is None:
        raise Unclear(
            "takes no part in the forward pass; set its role in model.roles, or leave it out of "
            "the model"
        )
    growing = tuple(d for d in range(ndim) if grows[d])
    if user_role is None and len(growing) != 1:
        raise Unclear("is a matrix that no product uses; set its role in model.roles")
    fixed = tuple(d for d in range(ndim) if d not in growing)
    if user_role in (Role.HIDDEN, Role.READOUT):
        if ndim != 2:
            raise Unclear(
                f"cannot have the role {user_role}: no product shows which of its dimensions are "
                "fan_in; use embedding or vector"
            )
        return ParameterReading(user_role, MatrixLayout())
    return ParameterReading(user_role or Role.EMBEDDING, MatrixLayout(growing, fixed))


def _fan_in_and_stack(
    products: set[Use], shape: tuple[int, ...], grows: tuple[bool, ...]
) -> tuple[frozenset[int], frozenset[int]]:
    """The dimensions that form fan_in, and the dimensions that index separate matrices. Raises
    Unclear if two products disagree about these dimensions, or if no dimension forms fan_in.

    A parameter with three or more dimensions is a stack of matrices if its first dimension does not
    grow and is larger than 1. This holds even if a product sums over the first dimension, as einsum
    may do with a stack of experts. Convolutions are never stacks in this sense.
    """
    pairs = set()
    for use in products:
        is_stacked = use.kind == "product" and len(shape) > 2 and not grows[0] and shape[0] > 1
        stack = use.stack | ({0} if is_stacked else frozenset())
        pairs.add((use.inner - stack, frozenset(stack)))
    if len(pairs) > 1:
        raise Unclear(
            "is used by products that sum over different dimensions of it; use a separate "
            "parameter for each product"
        )
    inner, stack = pairs.pop()
    if not inner:
        raise Unclear(
            "takes part in products, but none of its dimensions is clearly summed over; multiply "
            "by it as nn.Linear does, or set its role to vector in model.roles"
        )
    return inner, stack
