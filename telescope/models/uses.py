"""The uses of each parameter in a forward pass: dimensions summed over, or looked up.

Shapes alone cannot tell an embedding from an output head (both grow in one dimension), nor show
which side of a square matrix is fan_in. So a model is run once on a few tokens, below autograd,
where every product is one of a dozen operations of torch: the dimension of a weight that a product
sums over is its fan_in. Views are followed by their strides, copies by their source.

Parts: `Use` · `uses`, which runs the model · `UseRecorder`, the torch mode that observes the
operations · `PRODUCTS`, `LOOKUPS`, the operations that count as such.
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


@dataclass(frozen=True)
class Use:
    """An operation that combines a parameter with activations."""

    # other: sums, products with single numbers, norms
    kind: Literal["product", "convolution", "lookup", "other"]
    inner: frozenset[int] = frozenset()  # dimensions summed over, or looked up in
    stack: frozenset[int] = frozenset()  # dimensions that index separate matrices
    module: str = ""  # path of the innermost module whose forward pass is running


@dataclass(frozen=True)
class Operand:
    """The position of a matrix among an operation's arguments, and the meaning of its
    dimensions."""

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
# the dimension that is looked up; for index_select it is an argument
LOOKUPS = {aten.embedding: 0, aten.index_select: 0}
COPIES = {aten.clone, aten._to_copy, aten.contiguous, aten.copy, aten._unsafe_view, aten.to}


@dataclass
class Trace:
    """A storage that holds a parameter's numbers: stride and size of each of its dimensions, and
    the parameter's dimensions that it covers."""

    name: str
    kept: Tensor  # a reference, so that no other tensor gets the same storage meanwhile
    dimensions: list[tuple[int, int, frozenset[int]]]

    def covered(self, x: Tensor, dimension: int) -> frozenset[int]:
        """Dimensions of the parameter that a dimension of a view covers."""
        low, high = x.stride(dimension), x.stride(dimension) * x.size(dimension)
        return frozenset().union(
            *(
                of
                for stride, size, of in self.dimensions
                if low < stride * size and stride < high and size > 1
            )
        )


class UseRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch declares no types there
    """Observes every operation and records its use of parameters; `path` names the running
    modules."""

    def __init__(self, parameters: Mapping[str, Tensor], path: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found, self.path = dict[str, set[Use]](), path
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
            self._copied(args[0], result)
            return result
        for use_of, use in self._uses(
            operation, args, {storage(x) for x in tree_leaves(result) if isinstance(x, Tensor)}
        ):
            self.found.setdefault(use_of, set()).add(use)
        return result

    def _uses(
        self, operation: Any, args: tuple[Any, ...], results: set[int]
    ) -> Iterator[tuple[str, Use]]:
        """Uses of the parameters among an operation's arguments; none if the result is only a view
        of one."""
        at = self.path[-1] if self.path else ""
        operands = {operand.argument: operand for operand in self._operands(operation, args)}
        for number, argument in enumerate(args):
            trace = self._trace(argument)
            if trace is None:
                others = tree_leaves(argument) if isinstance(argument, list | tuple) else []
                yield from (
                    (other.name, Use("other", module=at))
                    for leaf in others
                    if (other := self._trace(leaf))
                )
            elif number in operands:
                inner, stack = (
                    dimensions_of(trace, argument, dims)
                    for dims in (operands[number].inner, operands[number].stack)
                )
                yield (
                    trace.name,
                    Use(
                        "convolution" if operation in CONVOLUTIONS else "product", inner, stack, at
                    ),
                )
            elif operation in LOOKUPS and number == 0:
                dimension = args[1] if operation is aten.index_select else LOOKUPS[operation]
                yield trace.name, Use("lookup", trace.covered(argument, dimension), module=at)
            elif operation is aten.index and number == 0:
                looked = tuple(d for d, index in enumerate(args[1]) if index is not None)
                yield trace.name, Use("lookup", dimensions_of(trace, argument, looked), module=at)
            elif storage(argument) not in results:
                yield trace.name, Use("other", module=at)

    def _operands(self, operation: Any, args: tuple[Any, ...]) -> tuple[Operand, ...]:
        if operation in CONVOLUTIONS:
            transposed = bool(args[6])
            return (Operand(1, (0 if transposed else 1, *range(2, args[1].ndim))),)
        return PRODUCTS.get(operation, ())

    def _trace(self, argument: Any) -> Trace | None:
        return self._traces.get(storage(argument)) if isinstance(argument, Tensor) else None

    def _copied(self, x: Any, copy: Any) -> None:
        """Give a copy the dimensions of its source."""
        trace = self._trace(x)
        if (
            trace is not None
            and isinstance(copy, Tensor)
            and storage(copy) != storage(x)
            and copy.shape == x.shape
        ):
            dimensions = [
                (copy.stride(d), copy.size(d), trace.covered(x, d)) for d in range(copy.ndim)
            ]
            self._traces[storage(copy)] = Trace(trace.name, copy, dimensions)


def storage(x: Tensor) -> int:
    """Identity of a tensor's memory."""
    return x.untyped_storage()._cdata  # type: ignore[no-any-return]


def dimensions_of(trace: Trace, x: Tensor, dimensions: Sequence[int]) -> frozenset[int]:
    """Dimensions of the parameter behind some dimensions of a view."""
    return frozenset().union(*(trace.covered(x, d) for d in dimensions))


@contextmanager
def modules_at_work(model: nn.Module) -> Iterator[list[str]]:
    """Paths of the modules whose forward pass is running, the innermost last."""
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
    """Every use of every parameter, by name, in a forward pass of these inputs. A parameter that
    takes no part is left out."""
    parameters = dict(model.named_parameters())
    training = model.training
    model.eval()
    try:
        with modules_at_work(model) as path, UseRecorder(parameters, path) as watch:
            model(*inputs)
    finally:
        model.train(training)
    return {name: frozenset(found) for name, found in watch.found.items()}
