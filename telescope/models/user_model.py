"""A user's own model under a parametrisation, without changes to its code.

muP is applied from outside: the module that the factory builds keeps its class, its names and its
state dict. The *size* of a parameter is the root mean square of its initial values. Each parameter
but vectors is scaled to its size at the base width times muP's factor, so a model at the base width
stays as the factory made it (unless `init_scale` scales its hidden matrices). Forward multipliers
are hooks (telescope.models.multipliers).

Parts: `parameter_readings` · `base_sizes`, at the base width · `width_problem` and
`check_vocabulary` · `ModuleHolder`, the base class of `UserModel`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Self

import torch
from torch import Tensor, nn

from telescope.errors import InvalidInput
from telescope.models import factory
from telescope.models.attention import Scores
from telescope.models.classification import ParameterReading
from telescope.models.family import Layer
from telescope.models.multipliers import ForwardMultiplier, InputScale, OutputScale, owner_path
from telescope.models.reading import FACTORY_FIELD, build_module, infer
from telescope.models.user_layers import hidden_layers, readout_module
from telescope.parametrisation import mup
from telescope.parametrisation.layout import MatrixLayout
from telescope.parametrisation.roles import Role, trained_by
from telescope.trials.model import ModuleSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.types import Parametrisation


@lru_cache(maxsize=64)
def parameter_readings(spec: ModuleSpec) -> dict[str, ParameterReading]:
    """Role, layout and modules of each parameter, by name: the same at all widths, read off the
    models at the base width and at twice the base width. Raises InvalidInput if a role is not
    clear."""
    splits = {
        pattern: MatrixLayout(parts=size)
        if isinstance(size, tuple)
        else MatrixLayout(block_rows=size)
        for pattern, size in spec.splits
    }
    roles = {pattern: Role(role) for pattern, role in spec.roles}
    widths = (spec.base_width, 2 * spec.base_width)
    make_module = factory.load(spec.factory)
    return infer(make_module, widths, roles, splits, targets=spec.output == "loss")


@lru_cache(maxsize=64)
def base_sizes(factory_name: str, base_width: int) -> dict[str, float]:
    """Size of each parameter at the base width, by name."""
    model = build_module(factory.load(factory_name), base_width)
    return {name: rms(parameter) for name, parameter in model.named_parameters()}


def rms(x: Tensor) -> float:
    """Root mean square of a tensor's entries."""
    return float(x.detach().float().square().mean().sqrt())


def width_problem(spec: ModuleSpec, parametrisation: Parametrisation) -> str | None:
    """The reason why the model cannot be built at its width under a parametrisation, or None."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=()):
            UserModel(spec, parametrisation)
    except InvalidInput as error:
        return error.problems[0].message
    except Exception as error:  # a user's code can raise anything
        reason = f"{spec.factory} raised {type(error).__name__}: {error}"
        return f"{reason}; choose a width that it builds"
    return None


def check_vocabulary(spec: ModuleSpec, vocab_size: int) -> None:
    """Raise InvalidInput if the model does not take tokens of this vocabulary, or does not return
    the output that its spec declares."""
    tokens = torch.tensor([[0, vocab_size - 1, 0]])
    model = UserModel(spec, "standard")
    try:
        with model.evaluating(), torch.no_grad():
            loss = model.own_loss(tokens)
            output = model(tokens[:, :2]) if loss is None else loss
    except Exception as error:  # a user's code can raise anything
        message = (
            f"its model does not take the data's token ids, 0 to {vocab_size - 1} "
            f"({type(error).__name__}: {error}); let it have a vocabulary of {vocab_size}"
        )
        raise InvalidInput.of(FACTORY_FIELD, message, spec.factory) from error
    if spec.output == "loss" and output.numel() != 1:
        message = f"forward(tokens, targets) gave shape {tuple(output.shape)}; return one mean loss"
        raise InvalidInput.of("model.output", message, "loss")
    if spec.output == "logits" and (output.shape[:2] != (1, 2) or output.shape[-1] < vocab_size):
        message = (
            f"gives logits of shape {tuple(output.shape)} for tokens of shape (1, 2); return "
            f"(1, 2, {vocab_size} or more)"
        )
        raise InvalidInput.of(FACTORY_FIELD, message, spec.factory)


class ModuleHolder:
    """Forwards to a user's module the methods of nn.Module that training needs."""

    module: nn.Module

    def get_parameter(self, name: str) -> nn.Parameter:
        return self.module.get_parameter(name)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All parameters; a tied parameter appears once."""
        return self.module.named_parameters()

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.module.parameters()

    def state_dict(self) -> dict[str, Any]:
        """The state dict of the user's module, without a prefix."""
        return self.module.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state)

    def to(self, device: torch.device | str) -> Self:
        self.module.to(device)
        return self

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Put the module into evaluation mode, which switches dropout off, for a `with` block."""
        training = self.module.training
        self.module.eval()
        try:
            yield
        finally:
            self.module.train(training)


class UserModel(ModuleHolder):
    """A user's module in training: a `Model`, as telescope's own `Transformer` is."""

    def __init__(self, spec: ModuleSpec, parametrisation: Parametrisation) -> None:
        factory.require_unchanged(spec.factory, spec.content)
        self.spec, self.parametrisation = spec, parametrisation
        self.readings = parameter_readings(spec)
        self.embedding_multiplier = mup.forward_multiplier(spec, parametrisation, Role.EMBEDDING)
        self.head_multiplier = mup.forward_multiplier(spec, parametrisation, Role.READOUT)
        self._build()

    def _build(self) -> None:
        """Build the module at the spec's width, with its multipliers."""
        make_module = factory.load(self.spec.factory)
        try:
            model = make_module(self.spec.width)
        except Exception:
            if torch.get_default_device().type != "meta":
                raise
            # the factory computes initial values, which the meta device cannot do
            with torch.device("cpu"):
                model = make_module(self.spec.width)
        names = {name for name, _ in model.named_parameters()}
        if names != self.readings.keys():
            unshared = sorted(names ^ self.readings.keys())[0]
            message = (
                f"has other parameters at width {self.spec.width} than at {self.spec.base_width} "
                f"({unshared}); width may change the sizes of layers, not their number"
            )
            raise InvalidInput.of(FACTORY_FIELD, message)
        self.module = model
        for multiplier in self.multipliers():
            multiplier.attach(model)

    def multipliers(self) -> list[ForwardMultiplier]:
        """The forward multipliers that are not 1, in the order of their paths. Raises InvalidInput
        if a parameter needs a multiplier, but is not applied by the module that owns it, or if a
        tied head would have to be rescaled."""
        multipliers: set[ForwardMultiplier] = set()
        for name, reading in self.readings.items():
            self._require_scalable(name, reading)
            hooks: list[tuple[str | None, InputScale | OutputScale]] = []
            if reading.makes_logits:
                hooks.append((reading.product_at, InputScale(self.head_multiplier)))
            if reading.role is Role.EMBEDDING:
                path = reading.embedded_at or reading.product_at
                hooks.append((path, OutputScale(self.embedding_multiplier)))
            multipliers.update(
                ForwardMultiplier(owner_path(self.module, name, path), hook)
                for path, hook in hooks
                if hook.factor != 1.0
            )
        return sorted(multipliers, key=lambda multiplier: (multiplier.path, multiplier.hook.factor))

    def _require_scalable(self, name: str, reading: ParameterReading) -> None:
        """Raise InvalidInput if the parameter is a tied head that would have to be rescaled."""
        tied = reading.makes_logits and reading.role is Role.EMBEDDING
        if tied and self.parametrisation == "mup" and self.spec.head_form == "rescaled":
            message = (
                f"rescaled would not change the tied head {name}; use head_form: multiplier, or "
                "untie it"
            )
            raise InvalidInput.of("model.head_form", message, "rescaled")

    def initialise(self, optimizer: OptimizerSpec, seed: int) -> None:
        """Draw all parameters anew: build the module again under this seed, then scale each
        parameter to the size `init_std`; vectors and zeros stay as they are."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            self._build()
        with torch.no_grad():
            if self.keeps_initial_values(optimizer):
                return
            for name, role in self.parameter_roles().items():
                parameter = self.get_parameter(name)
                if role is not Role.VECTOR and (size := rms(parameter)) > 0:
                    parameter.mul_(self.init_std(name, role, optimizer) / size)

    def keeps_initial_values(self, optimizer: OptimizerSpec) -> bool:
        """True if the factory's initial values are not scaled."""
        return self.spec.multiplier == 1.0 and optimizer.init_scale == 1.0

    def init_std(self, name: str, role: Role, optimizer: OptimizerSpec) -> float:
        """The size of a parameter: its size at the base width times muP's factor, and for a hidden
        matrix times `init_scale`."""
        scale = optimizer.init_scale if role is Role.HIDDEN else 1.0
        base = base_sizes(self.spec.factory, self.spec.base_width)[name]
        factors = mup.factors(self.spec, optimizer, role, trained_by(optimizer.name, role))
        return base * scale * factors.init_std

    def parameter_roles(self) -> dict[str, Role]:
        """Role of every parameter, by name."""
        return {name: reading.role for name, reading in self.readings.items()}

    def layout(self, name: str, optimizer: OptimizerSpec) -> MatrixLayout:
        """The matrices that a hidden parameter holds."""
        layout = self.readings[name].layout
        assert layout is not None, "a hidden parameter has a layout"
        return layout

    def reseed(self, seed: int) -> None:
        """Seed the random numbers that the model draws in a step, for dropout and the like."""
        torch.manual_seed(seed)

    def depth_factors(self, name: str) -> mup.DepthFactors:
        """Return factors of 1: telescope does not know the model's residual branches."""
        return mup.UNSCALED

    def hidden_layers(self) -> dict[str, Layer]:
        """The layers that multiply by a HIDDEN matrix of their own, by path."""
        return hidden_layers(self.module, self.readings)

    def scores(self) -> tuple[Scores, ...]:
        """Return no modules: telescope does not know where the model computes attention."""
        return ()

    def last(self) -> nn.Module | None:
        """The module that holds the readout's matrix, and whose input is the last features; None if
        no module does."""
        return readout_module(self.module, self.readings)

    def __call__(self, tokens: Tensor) -> Tensor:  # (B, T) -> (B, T, V)
        """Logits of the next token at each position. If the model computes its own loss: this loss,
        a scalar, with the tokens themselves as targets."""
        output = self.module(tokens, tokens) if self.spec.output == "loss" else self.module(tokens)
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        return logits

    def own_loss(self, windows: Tensor) -> Tensor | None:  # (B, T + 1) -> ()
        """The mean loss if the model computes its own loss; None if it returns logits."""
        if self.spec.output != "loss":
            return None
        result: Tensor = self.module(windows[:, :-1], windows[:, 1:])
        return result
