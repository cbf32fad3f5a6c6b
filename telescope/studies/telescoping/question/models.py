"""The models of a ladder at all its widths: the built-in transformer, or a user's module.

Both families provide the same methods: the model at a width, its problems, its assumptions, and its
departures from the model of the paper. Nothing else in this kind of study depends on the family.

Parts: `LadderWidths` · `LadderModel`, `LadderModule`, `AnyLadder` (either) · `DepthChange`.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass as value
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


@value(frozen=True)
class DepthChange:
    """The depths of a target that is deeper or shallower than the trials."""

    trained: int
    target: int


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LadderWidths:
    """The widths of a ladder: trials run from the base width up to the calibration width, by
    doublings; the answer holds at the target width.
    """

    base_width: Width
    """The narrowest width, which has the dense grid and at which every width factor is 1."""
    calibration_width: Width
    """The widest width at which trials run: base_width times a power of two."""
    target_width: Width
    """The width that the answer is for; at least calibration_width."""

    @property
    def widths(self) -> tuple[int, ...]:
        """The trained widths: base, doubled up to calibration."""
        doublings = round(math.log2(self.calibration_width / self.base_width))
        return tuple(self.base_width * 2**i for i in range(doublings + 1))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LadderModel(Preset, LadderWidths):
    """The built-in transformer at all widths of a ladder."""

    target_depth: Annotated[int, Field(ge=1, le=256)] | None = None
    """Number of blocks of the final run, if different from `depth`, at which all trials run."""

    def at(self, width: int) -> ModelSpec:
        """The model at one width."""
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
        """The depths of the trials and of the final run; None where they are the same."""
        if self.target_depth is None or self.target_depth == self.depth:
            return None
        return DepthChange(self.depth, self.target_depth)

    def problems(self) -> Iterable[Problem]:
        """The problems of the architecture, at any width."""
        return (under("model", problem) for problem in architecture_problems(self))

    def width_problem(self, width: int, parametrisation: Parametrisation) -> str | None:
        """Why the model cannot be built at a width; None where it can."""
        return width_problem(self, width)

    def resolved(self, vocab_size: int) -> "LadderModel":
        """The model itself: its code is telescope's own, and it accepts any vocabulary."""
        return self

    def departures(self) -> Iterator[str]:
        """Differences from the model of arXiv 2505.02222, each as a clause that begins with `which`
        or `whose` and follows `departs from the paper`.
        """
        if not self.tied_embeddings:
            yield "whose head is tied to the embedding: here it is a separate matrix"
            yield (
                "whose table initialises the head with variance 1/fan_in: "
                "here an untied head starts at zero"
            )

    def assumptions(self, validated: bool) -> Iterator[str]:
        """The assumptions on which an answer rests at the target; `validated`: whether the study
        trains there too.
        """
        scores = "1/sqrt(head size)" if self.attention_scale == "inverse_sqrt" else "8/head size"
        size = (
            f"{self.head_dim}"
            if self.attention == "heads"
            else f"{self.head_dim} and {self.rotated_dim} rotated"
        )
        larger = (
            ": a larger head needs attention_scale: inverse"
            if self.attention_scale == "inverse_sqrt" and not self.qk_norm
            else ""
        )
        yield f"attention: head size stays {size}, scores x {scores}{larger}"
        if (change := self.depth_change) is None:
            yield f"depth: {self.depth} blocks at every width and at the target"
        else:
            rule = f"CompleteP's rule with alpha {self.depth_exponent:g} (arXiv 2505.01618)"
            tests = "only the runs at the target test" if validated else "no trial tests"
            depths = f"trained at {change.trained} blocks, transferred to {change.target}"
            yield f"depth: {depths} by {rule}, which {tests}"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LadderModule(ModuleArchitecture, LadderWidths, DescribesInherited):
    """A user's module at all widths of a ladder."""

    def at(self, width: int) -> ModuleSpec:
        """The model at one width."""
        shared = {name: getattr(self, name) for name in ModuleArchitecture.__dataclass_fields__}
        return ModuleSpec(width=width, base_width=self.base_width, **shared)

    @property
    def target(self) -> ModuleSpec:
        """The model of the final run."""
        return self.at(self.target_width)

    @property
    def depth_change(self) -> DepthChange | None:
        """None: only the width of a module changes."""
        return None

    def problems(self) -> Iterable[Problem]:
        """No problems. Raises InvalidInput where the module's code has changed, or its parameters
        cannot be read at any width.
        """
        if self.content and (content := factory.content(self.factory)) != self.content:
            remedy = "leave content out to accept it, or restore the code"
            message = f"the code of {self.factory} now has hash {content}; {remedy}"
            raise InvalidInput.of("model.content", message, self.content)
        user_model.parameter_readings(self.at(self.base_width))
        return ()

    def width_problem(self, width: int, parametrisation: Parametrisation) -> str | None:
        """Why the model cannot be built at a width; None where it can."""
        return user_model.width_problem(self.at(width), parametrisation)

    def resolved(self, vocab_size: int) -> "LadderModule":
        """The model with the hash of its code. Raises InvalidInput where the code has changed since
        it was imported, or the module does not accept tokens of this vocabulary.
        """
        content = factory.content(self.factory)
        if factory.content.__wrapped__(self.factory) != content:
            message = "its code has changed since this process imported it; restart telescope"
            raise InvalidInput.of("model.factory", message, self.factory)
        resolved = replace(self, content=content)
        user_model.check_vocabulary(resolved.at(resolved.base_width), vocab_size)
        return resolved

    def departures(self) -> Iterator[str]:
        """Differences from the model of arXiv 2505.02222, as in `LadderModel.departures`."""
        yield "which uses a different model: initial values are the factory's at the base width"

    def assumptions(self, validated: bool) -> Iterator[str]:
        """The assumptions on which an answer rests at the target."""
        values = f"initial values are its own at width {self.base_width}, scaled"
        yield f"model: {self.factory} changes only its width; {values}"
        yield (
            "attention: head size and the scale of scores are the same at every width, "
            "or scores fall as 1/head size"
        )


AnyLadder = Annotated[
    Annotated[LadderModel, Tag("transformer")] | Annotated[LadderModule, Tag("module")],
    Discriminator(family),
]
