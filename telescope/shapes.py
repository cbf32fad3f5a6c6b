"""Type annotations that state the shapes of tensors.

An annotation of jaxtyping, such as `Float[Tensor, "B T D"]`, names the dimensions of a tensor.
During tests, calls of annotated functions check the shapes of tensors in the modules that
conftest.py lists. jaxtyping is optional: without it, the annotations mean a tensor of any shape.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Float, Int
else:
    try:
        from jaxtyping import Float, Int
    except ModuleNotFoundError:

        class _Tensor:
            """Replacement for jaxtyping's annotations, which ignores the shape."""

            def __class_getitem__(cls, tensor_and_shape: tuple[type, str]) -> Any:
                return tensor_and_shape[0]

        Float = Int = _Tensor

__all__ = ["Float", "Int"]
