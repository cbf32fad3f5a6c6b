"""The models of a ladder, at all its widths: ours, or a user's.

Both families answer the same questions, in their own way: what is wrong with them, what they take for granted, how they differ from the
model of the paper. Nothing else of this kind of study asks which family a model is of.

Parts: `LadderWidths` · `LadderModel`, `LadderModule` · `AnyLadder`, either · `DepthChange`.
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
from telescope.trials.model import Architecture, ModelSpec, ModuleArchitecture, ModuleSpec, architecture_problems, family, width_problem
from telescope.trials.presets import Preset
from telescope.trials.types import STRICT, Parametrisation


@value(frozen=True)
class DepthChange:
    """A target that is deeper, or less deep, than the trials."""

    trained: int
    target: int


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LadderWidths:
    """The widths of a ladder: swept from base to calibration width, doubling, and wanted at the target."""

    base_width: Width
    calibration_width: Width
    target_width: Width

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths that are trained: base, doubled up to calibration."""
        doublings = round(math.log2(self.calibration_width / self.base_width))
        return tuple(self.base_width * 2**i for i in range(doublings + 1))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LadderModel(Preset, LadderWidths):
    """The model at all its widths."""

    target_depth: Annotated[int, Field(ge=1, le=256)] | None = None
    """Blocks of the final run, where they are not `depth`, at which all trials run."""

    def at(self, width: int) -> ModelSpec:
        """The model of one width."""
        shared = {name: getattr(self, name) for name in Architecture.__dataclass_fields__}
        return ModelSpec(width=width, base_width=self.base_width, **shared)

    @property
    def target(self) -> ModelSpec:
        """The model of the final run."""
        model = self.at(self.target_width)
        change = self.depth_change
        return model if change is None else replace(model, depth=change.target, base_depth=change.trained)

    @property
    def depth_change(self) -> DepthChange | None:
        """How the final run's depth differs from that of the trials, if it does."""
        if self.target_depth is None or self.target_depth == self.depth:
            return None
        return DepthChange(self.depth, self.target_depth)

    def problems(self) -> Iterable[Problem]:
        """What is wrong with it at any width."""
        return (under("model", problem) for problem in architecture_problems(self))

    def width_problem(self, width: int, parametrisation: Parametrisation) -> str | None:
        """Why it cannot be built at a width, or None."""
        return width_problem(self, width)

    def resolved(self, vocab_size: int) -> "LadderModel":
        """As it is: its fields say all, and it takes any vocabulary."""
        return self

    def departures(self) -> Iterator[str]:
        """What the paper's model has otherwise, each as the rest of a sentence."""
        if not self.tied_embeddings:
            yield "whose head is tied to the embedding: it is a matrix of its own here"
            yield "whose table starts the head at a variance of 1/fan_in: an untied head starts at zero here"

    def assumptions(self, tested: bool) -> Iterator[str]:
        """What carries an answer from its trials to its target; `tested`: runs at the target do."""
        scores = "1/sqrt(head size)" if self.attention_scale == "inverse_sqrt" else "8/head size"
        size = f"{self.head_dim}" if self.attention == "heads" else f"{self.head_dim} and {self.rotated_dim} rotated"
        larger = ": a larger head needs attention_scale: inverse" if self.attention_scale == "inverse_sqrt" and not self.qk_norm else ""
        yield f"attention: head size stays {size}, scores x {scores}{larger}"
        if (change := self.depth_change) is None:
            yield f"depth: {self.depth} blocks at every width and at the target"
        else:
            rule = f"CompleteP's rule with alpha {self.depth_exponent:g} (arXiv 2505.01618)"
            which = "only the runs at the target test" if tested else "no trial has tested"
            yield f"depth: trained at {change.trained} blocks, carried over to {change.target} by {rule}, which {which}"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LadderModule(ModuleArchitecture, LadderWidths):
    """A user's model at all its widths."""

    def at(self, width: int) -> ModuleSpec:
        """The model of one width."""
        shared = {name: getattr(self, name) for name in ModuleArchitecture.__dataclass_fields__}
        return ModuleSpec(width=width, base_width=self.base_width, **shared)

    @property
    def target(self) -> ModuleSpec:
        """The model of the final run."""
        return self.at(self.target_width)

    @property
    def depth_change(self) -> DepthChange | None:
        """None: nothing but its width changes."""
        return None

    def problems(self) -> Iterable[Problem]:
        """None; InvalidInput where its code, or what it builds, cannot be read, so that no width can."""
        if self.content and (now := factory.content(self.factory)) != self.content:
            message = f"the code of {self.factory} has hash {now} now; leave content out to take it as it is, or restore the code"
            raise InvalidInput.of("model.content", message, self.content)
        user_model.readings_of(self.at(self.base_width))
        return ()

    def width_problem(self, width: int, parametrisation: Parametrisation) -> str | None:
        """Why it cannot be built at a width, or None."""
        return user_model.width_problem(self.at(width), parametrisation)

    def resolved(self, vocab_size: int) -> "LadderModule":
        """With the hash of its code, once it is seen to take tokens of this vocabulary; InvalidInput where it does not."""
        found = factory.content(self.factory)
        if factory.content.__wrapped__(self.factory) != found:
            message = "its code has changed since this process imported it; start telescope anew"
            raise InvalidInput.of("model.factory", message, self.factory)
        resolved = replace(self, content=found)
        user_model.check_vocabulary(resolved.at(resolved.base_width), vocab_size)
        return resolved

    def departures(self) -> Iterator[str]:
        """What the paper's model has otherwise, as the rest of a sentence."""
        yield "whose own model is another: initial values are the factory's at the base width"

    def assumptions(self, tested: bool) -> Iterator[str]:
        """What carries an answer from its trials to its target."""
        yield f"model: {self.factory} changes nothing but its width; initial values are its own at width {self.base_width}, scaled"
        yield "attention: head size and the scale of scores are the same at every width, or scores fall as 1/head size"


AnyLadder = Annotated[Annotated[LadderModel, Tag("transformer")] | Annotated[LadderModule, Tag("module")], Discriminator(family)]
