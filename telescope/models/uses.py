"""Observes how a forward pass of a user's model uses each parameter.

Shapes alone cannot tell an embedding from an output head, since both grow with width in one
dimension. Nor can shapes show which side of a square matrix is fan_in. Therefore `uses` runs a
model on a few tokens and observes the operations below autograd, where torch expresses products by
few operations (`PRODUCTS`, `CONVOLUTIONS`). The dimension of a weight that a product sums over is
the weight's fan_in. A *lookup* selects entries of a parameter by index, as an embedding does.

An operation may receive a view or a copy of a parameter. A view shares memory with the parameter,
and the strides of the view show which dimensions of the parameter it covers. A copy is recorded
when it is made.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
UseKind = Literal["product", "convolution", "lookup", "other"]


@dataclass(frozen=True)
class Use:
    """One way in which an operation uses a parameter."""

    kind: UseKind  # other: for example, an elementwise operation or a norm
    # dimensions of the parameter: `inner` are summed over or looked up, `stack` index separate
    # matrices
    inner: frozenset[int] = frozenset()
    stack: frozenset[int] = frozenset()
    module: str = ""  # path of the innermost module whose forward pass ran the operation


@dataclass(frozen=True)
class Operand:
    """The position of a matrix among the arguments of an operation. `inner` and `stack` are the
    matrix's dimensions with the same meaning as in `Use`."""

    argument: int
    inner: tuple[int, ...]
    stack: tuple[int, ...] = ()


PRODUCTS: Mapping[Any, tuple[Operand, ...]] = {
    aten.mm: (Operand(0, (1,)), Operand(1, (0,))),
    aten.addmm: (Operand(1, (1,)), Operand(2, (0,))),
    aten.bmm: (Operand(0, (2,), (0,)), Operand(1, (1,), (0,))),
    aten.baddbmm: (Operand(1, (2,), (0,)), Operand(2, (1,), (0,))),
    aten.mv: (Operand(0, (1,)),),
    aten.addmv: (Operand(1, (1,)),),
    aten.linear: (Operand(1, (1,)),),
    aten._grouped_mm: (Operand(1, (1,), (0,)),),
}
CONVOLUTIONS = {aten.convolution, aten._convolution, aten.convolution_overrideable}
# Operations that look up entries of a table, and the dimension in which they do so. index_select
# receives the dimension as an argument, so the value here is not used. aten.index is a lookup, too,
# in every dimension for which it receives an index.
LOOKUPS = {aten.embedding: 0, aten.index_select: 0}
COPIES = {aten.clone, aten._to_copy, aten.contiguous, aten.copy, aten._unsafe_view, aten.to}


@dataclass
class Trace:
    """A tensor that holds the values of the parameter `name`: the parameter itself, or a copy of
    it. For each dimension of the tensor, `dimensions` holds the stride, the size, and the
    dimensions of the parameter that this dimension of the tensor covers."""

    name: str
    tensor: Tensor  # a reference, so that no other tensor gets this memory
    dimensions: list[tuple[int, int, frozenset[int]]]

    def covered(self, x: Tensor, dimension: int) -> frozenset[int]:
        """The dimensions of the parameter that are covered by one dimension of `x`, a view of
        `tensor`."""
        low, high = x.stride(dimension), x.stride(dimension) * x.size(dimension)
        overlapping = (
            covered
            for stride, size, covered in self.dimensions
            if low < stride * size and stride < high and size > 1
        )
        return frozenset().union(*overlapping)


class UseRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch declares no types there
    """Observes every operation of torch. Records in `uses`, by parameter name, how the operations
    use each parameter. `path` holds the paths of the modules that are running, the innermost
    last."""

    def __init__(self, parameters: Mapping[str, Tensor], path: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.uses, self.path = dict[str, set[Use]](), path
        self._traces: dict[int, Trace] = {}
        for name, parameter in parameters.items():
            dimensions = [
                (parameter.stride(d), parameter.size(d), frozenset({d}))
                for d in range(parameter.ndim)
            ]
            self._traces[storage(parameter)] = Trace(name, parameter.detach(), dimensions)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        operation = func.overloadpacket
        if operation in COPIES:
            self._trace_copy(args[0], result)
            return result
        results = {storage(x) for x in tree_leaves(result) if isinstance(x, Tensor)}
        for name, use in self._uses_in(operation, args, results):
            self.uses.setdefault(name, set()).add(use)
        return result

    def _uses_in(
        self, operation: Any, args: tuple[Any, ...], results: set[int]
    ) -> Iterator[tuple[str, Use]]:
        """Yields (parameter name, use) for each tensor that is a parameter, or a view or a copy of
        a parameter. The tensor may be a positional argument, or in a list that is a positional
        argument. An operation that only makes a view is not a use."""
        module = self.path[-1] if self.path else ""
        operands = {operand.argument: operand for operand in self._operands(operation, args)}
        for number, argument in enumerate(args):
            trace = self._trace(argument)
            if trace is None:
                leaves = tree_leaves(argument) if isinstance(argument, list | tuple) else []
                for leaf_trace in filter(None, map(self._trace, leaves)):
                    yield leaf_trace.name, Use("other", module=module)
            elif number in operands:
                inner = dimensions_of(trace, argument, operands[number].inner)
                stack = dimensions_of(trace, argument, operands[number].stack)
                kind: UseKind = "convolution" if operation in CONVOLUTIONS else "product"
                yield trace.name, Use(kind, inner, stack, module)
            elif operation in LOOKUPS and number == 0:
                dimension = args[1] if operation is aten.index_select else LOOKUPS[operation]
                yield trace.name, Use("lookup", trace.covered(argument, dimension), module=module)
            elif operation is aten.index and number == 0:
                indexed = tuple(d for d, index in enumerate(args[1]) if index is not None)
                inner = dimensions_of(trace, argument, indexed)
                yield trace.name, Use("lookup", inner, module=module)
            elif storage(argument) not in results:
                yield trace.name, Use("other", module=module)

    def _operands(self, operation: Any, args: tuple[Any, ...]) -> tuple[Operand, ...]:
        if operation in CONVOLUTIONS:
            transposed = bool(args[6])
            return (Operand(1, (0 if transposed else 1, *range(2, args[1].ndim))),)
        return PRODUCTS.get(operation, ())

    def _trace(self, argument: Any) -> Trace | None:
        return self._traces.get(storage(argument)) if isinstance(argument, Tensor) else None

    def _trace_copy(self, x: Any, copy: Any) -> None:
        """If `x` is a parameter, or a view or a copy of a parameter, and `copy` has the shape of
        `x`, record that `copy` holds values of this parameter. Each dimension of `copy` covers the
        same dimensions of the parameter as the same dimension of `x`."""
        trace = self._trace(x)
        if trace is None or not isinstance(copy, Tensor):
            return
        if storage(copy) != storage(x) and copy.shape == x.shape:
            dimensions = [
                (copy.stride(d), copy.size(d), trace.covered(x, d)) for d in range(copy.ndim)
            ]
            self._traces[storage(copy)] = Trace(trace.name, copy, dimensions)


def storage(x: Tensor) -> int:
    """A number that identifies a tensor's memory. Views of the tensor have the same number."""
    return x.untyped_storage()._cdata  # type: ignore[no-any-return]


def dimensions_of(trace: Trace, x: Tensor, dimensions: Sequence[int]) -> frozenset[int]:
    """The dimensions of the parameter that are covered by the given dimensions of `x`. `x` is a
    view of the traced tensor."""
    return frozenset().union(*(trace.covered(x, d) for d in dimensions))


@contextmanager
def running_modules(model: nn.Module) -> Iterator[list[str]]:
    """A context manager that yields a list. Inside the `with` block, the list always holds the
    paths of the modules whose forward pass is running, the innermost last."""
    paths = {id(module): path for path, module in model.named_modules()}
    path: list[str] = []

    def enter(module: nn.Module, inputs: Any) -> None:
        path.append(paths.get(id(module), path[-1] if path else ""))

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        path.pop()

    hooks = (
        register_module_forward_pre_hook(enter),
        register_module_forward_hook(leave, always_call=True),
    )
    try:
        yield path
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def uses(model: nn.Module, *inputs: Tensor) -> dict[str, frozenset[Use]]:
    """Run a forward pass on `inputs` in evaluation mode. Returns the observed uses of each
    parameter, by parameter name. Parameters without an observed use are left out."""
    parameters = dict(model.named_parameters())
    training = model.training
    model.eval()
    try:
        with running_modules(model) as path, UseRecorder(parameters, path) as recorder:
            model(*inputs)
    finally:
        model.train(training)
    return {name: frozenset(own_uses) for name, own_uses in recorder.uses.items()}
