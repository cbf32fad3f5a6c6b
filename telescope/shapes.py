"""Type annotations that state the shapes of tensors.

An annotation of jaxtyping, such as `Float[Tensor, "B T D"]`, gives a name to each dimension of a
tensor. In the tests, each call of an annotated function checks the shapes of its tensors, if
conftest.py lists the function's module. telescope also works without jaxtyping: if jaxtyping is not
installed, the same annotations mean a tensor of any shape.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Float, Int
else:
    try:
        from jaxtyping import Float, Int
    except ModuleNotFoundError:

        class _Tensor:
            """A tensor whose shape is not checked."""

            def __class_getitem__(cls, tensor_and_shape: tuple[type, str]) -> Any:
                return tensor_and_shape[0]

        Float = Int = _Tensor

__all__ = ["Float", "Int"]
