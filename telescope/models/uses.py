"""The uses of each parameter in a forward pass: the dimensions that are summed over or looked up.

Shapes alone cannot tell an embedding from an output head (both grow in one dimension), nor show
which side of a square matrix is fan_in. So a model is run on a few tokens and observed below
autograd, where every product is one of a dozen operations of torch. The dimension of a weight that
a product sums over is the weight's fan_in. Views of a parameter are recognised by their strides,
copies by the tensor from which they were made.

Parts: `Use` · `uses`, which runs the model · `UseRecorder`, the torch mode that observes operations
· `PRODUCTS`, `CONVOLUTIONS`, `LOOKUPS` and `COPIES`, the operations that the recorder knows.
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
    """An operation that combines a parameter with activations."""

    kind: UseKind  # other: elementwise operations and norms
    # dimensions of the parameter: those summed over or indexed, and those that count matrices
    inner: frozenset[int] = frozenset()
    stack: frozenset[int] = frozenset()
    module: str = ""  # path of the innermost running module


@dataclass(frozen=True)
class Operand:
    """The position of a matrix among an operation's arguments, and the meaning of the matrix's
    dimensions, as in `Use`."""

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
# The indexed dimension of the table; for index_select, an argument gives it. aten.index, too, is a
# lookup, in every dimension that has an index.
LOOKUPS = {aten.embedding: 0, aten.index_select: 0}
COPIES = {aten.clone, aten._to_copy, aten.contiguous, aten.copy, aten._unsafe_view, aten.to}


@dataclass
class Trace:
    """A tensor that holds a parameter's numbers: the parameter itself or a copy. `dimensions` has,
    for each of the tensor's dimensions, stride, size and the parameter's dimensions covered."""

    name: str
    tensor: Tensor  # kept alive, so that no other tensor gets the same storage
    dimensions: list[tuple[int, int, frozenset[int]]]

    def covered(self, x: Tensor, dimension: int) -> frozenset[int]:
        """Dimensions of the parameter that a dimension of `x`, a view of `tensor`, covers."""
        low, high = x.stride(dimension), x.stride(dimension) * x.size(dimension)
        overlapping = (
            covered
            for stride, size, covered in self.dimensions
            if low < stride * size and stride < high and size > 1
        )
        return frozenset().union(*overlapping)


class UseRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch declares no types there
    """Observes every operation and records the uses of parameters in `uses`, by parameter name;
    `path` holds the paths of the running modules, the innermost last."""

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
        """(parameter name, use) for each parameter among an operation's arguments. An operation
        whose result is a view of the parameter is not a use."""
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
        """Trace `copy` if `x` is a parameter or a copy of one: both cover the same dimensions."""
        trace = self._trace(x)
        if trace is None or not isinstance(copy, Tensor):
            return
        if storage(copy) != storage(x) and copy.shape == x.shape:
            dimensions = [
                (copy.stride(d), copy.size(d), trace.covered(x, d)) for d in range(copy.ndim)
            ]
            self._traces[storage(copy)] = Trace(trace.name, copy, dimensions)


def storage(x: Tensor) -> int:
    """Identity of a tensor's memory."""
    return x.untyped_storage()._cdata  # type: ignore[no-any-return]


def dimensions_of(trace: Trace, x: Tensor, dimensions: Sequence[int]) -> frozenset[int]:
    """Dimensions of the parameter that the given dimensions of `x`, a view, cover."""
    return frozenset().union(*(trace.covered(x, d) for d in dimensions))


@contextmanager
def running_modules(model: nn.Module) -> Iterator[list[str]]:
    """The paths of the modules whose forward pass is running, the innermost last: a list that is
    kept up to date for a `with` block."""
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
    """Every use of every parameter, by name, in a forward pass on these inputs. Parameters that
    take no part in the pass are left out."""
    parameters = dict(model.named_parameters())
    training = model.training
    model.eval()
    try:
        with running_modules(model) as path, UseRecorder(parameters, path) as recorder:
            model(*inputs)
    finally:
        model.train(training)
    return {name: frozenset(own_uses) for name, own_uses in recorder.uses.items()}
