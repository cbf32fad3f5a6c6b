"""How do signatures name the shapes of their tensors?

With jaxtyping's `Float[Tensor, "B T D"]`: read by people, checked at every call in the tests. Training itself needs none of it, so where
jaxtyping is not installed (a borrowed accelerator with torch, numpy and pydantic alone) the same words mean the plain tensor.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Float, Int
else:
    try:
        from jaxtyping import Float, Int
    except ModuleNotFoundError:

        class _Tensor:
            """A tensor whose shape nobody checks."""

            def __class_getitem__(cls, tensor_and_shape: tuple[type, str]) -> Any:
                return tensor_and_shape[0]

        Float = Int = _Tensor

__all__ = ["Float", "Int"]
