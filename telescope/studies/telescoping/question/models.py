"""The model at all widths of a ladder: telescope's Transformer, or a user's module.

A *ladder* searches the hyperparameters of one optimizer at increasing widths. The *target* is the
width of the final run, for which hyperparameters are wanted. `LadderModel` (the Transformer) and
`LadderModule` (a user's module) have the same methods, so callers need not know which of the two
they have.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from typing import Annotated

from pydantic import Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

from telescope.errors import InvalidInput, Problem, under
from telescope.models import factory, user_model
from telescope.studies.ranges import Width
from telescope.trials.architecture import Architecture, architecture_problems, width_problem
from telescope.trials.model import ModelSpec, ModuleArchitecture, ModuleSpec, family
from telescope.trials.presets import Preset
from telescope.trials.types import STRICT, DescribesInherited, Parametrisation


@plain_dataclass(frozen=True)
class DepthChange:
    """The depths of the search and of the final run, in Transformer blocks, if the two differ."""

    trained: int  # depth in the search
    target: int  # depth of the final run


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LadderWidths:
    """The widths of a ladder. The search runs at the base width, at twice this width, and so on, up
    to the calibration width. The answer is for the target width.
    """

    base_width: Width
    """The narrowest width, at which the search starts. The parametrisation's factors for width are
    1 there, except the learning rate's factor under `lr_convention: absolute`."""
    calibration_width: Width
    """The widest width of the search: base_width times a power of two."""
    target_width: Width
    """The width that the answer is for; at least calibration_width."""

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths of the search, ascending. Each is twice the one before."""
        doublings = round(math.log2(self.calibration_width / self.base_width))
        return tuple(self.base_width * 2**i for i in range(doublings + 1))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LadderModel(Preset, LadderWidths):
    """telescope's Transformer at all widths of a ladder."""

    target_depth: Annotated[int, Field(ge=1, le=256)] | None = None
    """Number of Transformer blocks of the final run and of the runs of `validate_at_target`. By
    default, it is `depth`. All other runs have `depth` blocks."""

    def at(self, width: int) -> ModelSpec:
        """The model at a width, with `depth` blocks."""
        shared = {name: getattr(self, name) for name in Architecture.__dataclass_fields__}
        return ModelSpec(width=width, base_width=self.base_width, **shared)

    @property
    def target(self) -> ModelSpec:
        """The model of the final run."""
        model = self.at(self.target_width)
        change = self.depth_change
        if change is None:
            return model
        return replace(model, depth=change.target, base_depth=change.trained)

    @property
    def depth_change(self) -> DepthChange | None:
        """The depths of the search and of the final run. None if they are the same."""
        if self.target_depth is None or self.target_depth == self.depth:
            return None
        return DepthChange(self.depth, self.target_depth)

    def problems(self) -> Iterable[Problem]:
        """The problems of the architecture that do not depend on its width."""
        return (under("model", problem) for problem in architecture_problems(self))

    def width_problem(self, width: int, parametrisation: Parametrisation) -> str | None:
        """The reason why the model cannot be built at a width. None if it can be built."""
        return width_problem(self, width)

    def pinned(self, vocab_size: int) -> "LadderModel":
        """The model itself: it has no factory, and accepts any vocabulary."""
        return self

    def departures(self) -> Iterator[str]:
        """Departures from the model of arXiv 2505.02222. Each departure is a clause that begins
        with `which` or `whose`, and continues the words `departs from the paper,`.
        """
        if not self.tied_embeddings:
            yield "whose head is tied to the embedding: here it is a separate matrix"
            yield (
                "whose table initialises the head with variance 1/fan_in: "
                "here an untied head starts at zero"
            )

    def assumptions(self, validated: bool) -> Iterator[str]:
        """What the answer at the target assumes about the model. `validated` states whether the
        study also trains at the target.
        """
        score_factor = (
            "1/sqrt(head size)" if self.attention_scale == "inverse_sqrt" else "8/head size"
        )
        size = (
            f"{self.head_dim}"
            if self.attention == "heads"
            else f"{self.head_dim} and {self.rotated_dim} rotated"
        )
        advice = (
            "; a larger head needs attention_scale inverse"
            if self.attention_scale == "inverse_sqrt" and not self.qk_norm
            else ""
        )
        yield f"attention: head size stays {size}, scores x {score_factor}{advice}"
        if (change := self.depth_change) is None:
            yield f"depth: {self.depth} blocks at every width and at the target"
        else:
            rule = f"CompleteP's rule with alpha {self.depth_exponent:g} (arXiv 2505.01618)"
            test = "only by the runs at the target" if validated else "by no trial"
            depths = f"trained at {change.trained} blocks, transferred to {change.target}"
            yield f"depth: {depths} by {rule}, tested {test}"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LadderModule(ModuleArchitecture, LadderWidths, DescribesInherited):
    """A user's module at all widths of a ladder."""

    def at(self, width: int) -> ModuleSpec:
        """The model at a width."""
        shared = {name: getattr(self, name) for name in ModuleArchitecture.__dataclass_fields__}
        return ModuleSpec(width=width, base_width=self.base_width, **shared)

    @property
    def target(self) -> ModuleSpec:
        """The model of the final run."""
        return self.at(self.target_width)

    @property
    def depth_change(self) -> DepthChange | None:
        """Always None, since only the width of a module changes."""
        return None

    def problems(self) -> Iterable[Problem]:
        """Always empty. Raises InvalidInput if `content` is set and is not the hash of the
        factory's code, and in all cases in which `parameter_readings` raises it.
        """
        if self.content and (content := factory.content(self.factory)) != self.content:
            remedy = "leave content out to accept the new code, or restore the old code"
            message = f"the code of {self.factory} now has hash {content}; {remedy}"
            raise InvalidInput.of("model.content", message, self.content)
        user_model.parameter_readings(self.at(self.base_width))
        return ()

    def width_problem(self, width: int, parametrisation: Parametrisation) -> str | None:
        """The reason why the model cannot be built at a width. None if it can be built. Raises
        FactoryLost if `content` is set and is not the hash of the factory's code.
        """
        return user_model.width_problem(self.at(width), parametrisation)

    def pinned(self, vocab_size: int) -> "LadderModule":
        """The model with the hash of the factory's code in `content`.

        Raises InvalidInput if the code has changed since this process first computed the hash, if
        the model fails on token ids from 0 to `vocab_size` - 1, or if the model does not return the
        declared `output`.
        """
        pinned = replace(self, content=user_model.pinned_content(self.factory))
        user_model.check_vocabulary(pinned.at(pinned.base_width), vocab_size)
        return pinned

    def departures(self) -> Iterator[str]:
        """Departures from the model of arXiv 2505.02222, worded as in `LadderModel.departures`."""
        yield "which uses another model: here the factory sets initial values at the base width"

    def assumptions(self, validated: bool) -> Iterator[str]:
        """What the answer at the target assumes about the model. `validated` has no effect."""
        values = f"initial values are scaled from the factory's at width {self.base_width}"
        yield f"model: only the width of {self.factory} changes; {values}"
        yield (
            "attention: head size and the scale of scores are the same at every width, "
            "or scores fall as 1/head size"
        )


AnyLadderModel = Annotated[
    Annotated[LadderModel, Tag("transformer")] | Annotated[LadderModule, Tag("module")],
    Discriminator(family),
]
