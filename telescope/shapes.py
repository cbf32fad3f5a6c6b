"""Names for the shapes of tensors in signatures.

jaxtyping's `Float[Tensor, "B T D"]` documents a shape, and the tests check that shape at every
call. Training does not need jaxtyping: if jaxtyping is not installed, the same annotations mean a
plain tensor.
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
