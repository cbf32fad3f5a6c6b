"""The models that a grokking study can train: telescope's Transformer, or a user's module.

`GrokkingModel` and `GrokkingModule` have the same methods, so that callers need not know which of
the two a study trains.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

from pydantic import Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

from telescope.errors import Problem, under
from telescope.models import user_model
from telescope.studies.grokking.assumptions import Assumption, public
from telescope.studies.ranges import Width
from telescope.trials.architecture import Architecture, architecture_problems, width_problem
from telescope.trials.model import ModelSpec, ModuleArchitecture, ModuleSpec, family
from telescope.trials.optimizer import OptimizerOptions, clip_problems
from telescope.trials.presets import Preset
from telescope.trials.types import STRICT, DescribesInherited, InitialValues


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GrokkingModel(Preset):
    """telescope's Transformer at one width. With `preset: grokking` and no other field, it is the
    model of the public code for arXiv 2504.16041, with 550,272 parameters at modulus 97."""

    width: Width = 128
    """Width of the model."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Probability with which a training step sets a hidden unit of a feed-forward layer to zero."""
    initial_values: InitialValues = "torch"
    """torch: the defaults of torch.nn.Embedding and torch.nn.Linear, as in the public code; scaled:
    telescope's own initial values. The time to generalise depends strongly on this choice."""

    @property
    def spec(self) -> ModelSpec:
        """The model as trials specify it."""
        shared = {name: getattr(self, name) for name in Architecture.__dataclass_fields__}
        return ModelSpec(
            width=self.width,
            base_width=self.width,
            dropout=self.dropout,
            initial_values=self.initial_values,
            **shared,
        )

    def problems(self, options: OptimizerOptions) -> Iterator[Problem]:
        """Problems of the architecture, and of optimizer options that do not fit it."""
        if message := width_problem(self, self.width):
            yield Problem("model.width", message, self.width)
        for problem in architecture_problems(self):
            yield under("model", problem)
        for problem in clip_problems(self.known_attention(), options):
            yield under("optimizer_options", problem)

    def assumptions(self) -> Iterator[Assumption]:
        """Settings of the model, with their origins."""
        size = (self.depth, self.width, self.head_dim)
        text = f"{self.depth} blocks, width {self.width}, heads of {self.head_dim}"
        yield Assumption("size", text, public(size, (2, 128, 128)))
        values = self.initial_values
        yield Assumption("initial values", values, public(values, "torch"))
        yield Assumption("dropout", f"{self.dropout:g}", public(self.dropout, 0.2))
        positions = self.positions
        yield Assumption("positions", positions, "paper" if positions == "rotary" else "ours")

    def pinned(self, vocab_size: int) -> "GrokkingModel":
        """The model itself, since it has no user code and accepts any vocabulary."""
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GrokkingModule(ModuleArchitecture, DescribesInherited):
    """A user's module at one width; it returns logits for the tokens of a question."""

    width: Width
    """Width of the model, which the factory is called with."""

    @property
    def spec(self) -> ModuleSpec:
        """The model as trials specify it."""
        shared = {name: getattr(self, name) for name in ModuleArchitecture.__dataclass_fields__}
        return ModuleSpec(width=self.width, base_width=self.width, **shared)

    def problems(self, options: OptimizerOptions) -> Iterator[Problem]:
        """Problems of a module that returns a loss, and of optimizer options that do not fit a
        user's module."""
        if self.output == "loss":
            message = (
                "accuracy cannot be computed from a loss; let forward return logits, and use "
                "output: logits"
            )
            yield Problem("model.output", message, self.output)
        for problem in clip_problems(self.known_attention(), options):
            yield under("optimizer_options", problem)
        if options.muon_split == "heads":
            message = (
                "telescope does not know the heads of a user's model; leave muon_split out, and "
                "set the rows of a head in model.splits"
            )
            yield Problem("optimizer_options.muon_split", message, options.muon_split)

    def assumptions(self) -> Iterator[Assumption]:
        """No settings: the paper says nothing about a user's module."""
        return iter(())

    def pinned(self, vocab_size: int) -> "GrokkingModule":
        """The model with the hash of its code in `content`. Raises InvalidInput if the code has
        changed since this process imported it, or if the module does not accept all tokens of this
        vocabulary or does not return logits."""
        pinned = replace(self, content=user_model.pinned_content(self.factory))
        user_model.check_vocabulary(pinned.spec, vocab_size)
        return pinned


AnyGrokkingModel = Annotated[
    Annotated[GrokkingModel, Tag("transformer")] | Annotated[GrokkingModule, Tag("module")],
    Discriminator(family),
]
