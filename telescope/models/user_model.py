"""Applies a parametrisation, such as muP, to a user's own model without changing its code.

A *factory* is the user's function that builds the module at a width. The module that it builds
keeps its class, its parameter names and its state dict.

The *size* of a parameter is the root mean square of its initial values. `UserModel` scales the
initial values of each parameter, except vectors. The new size of a parameter is its size at the
base width times the parametrisation's factor. So a model at the base width stays as the factory
made it, unless `init_scale` scales its hidden matrices. The parametrisation also multiplies the
output of the embedding and the input of the readout by factors. Hooks on modules apply these
factors (telescope.models.multipliers).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Self

import torch
from torch import Tensor, nn

from telescope.errors import FactoryLost, InvalidInput
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
    """The role and the layout of each parameter, and the modules that use it, by the parameter's
    name. The model at the base width is compared with the model at twice this width. The result is
    assumed to hold at all widths. Raises InvalidInput if the factory cannot be loaded, and in all
    cases in which `infer` raises it."""
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
    """The size of each parameter at the base width, by name."""
    model = build_module(factory.load(factory_name), base_width)
    return {name: rms(parameter) for name, parameter in model.named_parameters()}


def rms(x: Tensor) -> float:
    """The root mean square of a tensor's entries."""
    return float(x.detach().float().square().mean().sqrt())


def width_problem(spec: ModuleSpec, parametrisation: Parametrisation) -> str | None:
    """The reason why the model cannot be built at its width under a parametrisation. None if it can
    be built. Raises FactoryLost if the factory's code does not match `spec.content`."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=()):
            UserModel(spec, parametrisation)
    except InvalidInput as error:
        return error.problems[0].message
    except FactoryLost:
        raise
    except Exception as error:  # a user's code can raise anything
        reason = f"{spec.factory} raised {type(error).__name__}: {error}"
        return f"{reason}; choose a width at which the factory can build the model"
    return None


def pinned_content(name: str) -> str:
    """The hash of a factory's code. Raises InvalidInput if the code has changed since this process
    computed the hash for the first time."""
    content = factory.content(name)
    if factory.content.__wrapped__(name) != content:
        message = "the code has changed since telescope imported it; restart telescope"
        raise InvalidInput.of(FACTORY_FIELD, message, name)
    return content


def check_vocabulary(spec: ModuleSpec, vocab_size: int) -> None:
    """Raise InvalidInput if the model does not take token ids from 0 to `vocab_size` - 1, or if it
    does not return the output that its spec declares."""
    tokens = torch.tensor([[0, vocab_size - 1, 0]])
    model = UserModel(spec, "standard")
    try:
        with model.evaluating(), torch.no_grad():
            loss = model.own_loss(tokens)
            output = model(tokens[:, :2]) if loss is None else loss
            shape = tuple(output.shape)
    except Exception as error:  # a user's code can raise anything
        call = "forward(tokens, targets)" if spec.output == "loss" else "forward(tokens)"
        message = (
            f"its model cannot be run on the data's token ids, 0 to {vocab_size - 1} "
            f"({type(error).__name__}: {error}); give it a vocabulary of {vocab_size} or more, and "
            f"let {call} return {'a ' * (spec.output == 'loss')}{spec.output}"
        )
        raise InvalidInput.of(FACTORY_FIELD, message, spec.factory) from error
    if spec.output == "loss" and output.numel() != 1:
        message = f"forward(tokens, targets) gave shape {shape}; return one mean loss"
        raise InvalidInput.of("model.output", message, "loss")
    if spec.output == "logits" and (shape[:2] != (1, 2) or shape[-1] < vocab_size):
        message = (
            f"gives logits of shape {shape} for tokens of shape (1, 2); return "
            f"(1, 2, {vocab_size} or more)"
        )
        raise InvalidInput.of(FACTORY_FIELD, message, spec.factory)


class ModuleHolder:
    """Holds a user's module, and gives the training code access to the module's parameters, state
    dict, device and evaluation mode."""

    module: nn.Module

    def get_parameter(self, name: str) -> nn.Parameter:
        return self.module.get_parameter(name)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All parameters with their names. A tied parameter appears once."""
        return self.module.named_parameters()

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.module.parameters()

    def state_dict(self) -> dict[str, Any]:
        """The state dict of the user's module, with the names that the module itself gives."""
        return self.module.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state)

    def to(self, device: torch.device | str) -> Self:
        self.module.to(device)
        return self

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """A context manager: the module is in evaluation mode inside its `with` block."""
        training = self.module.training
        self.module.eval()
        try:
            yield
        finally:
            self.module.train(training)


class UserModel(ModuleHolder):
    """A user's module in training. Implements the interface telescope.models.family.Model."""

    def __init__(self, spec: ModuleSpec, parametrisation: Parametrisation) -> None:
        factory.require_unchanged(spec.factory, spec.content)
        self.spec, self.parametrisation = spec, parametrisation
        self.readings = parameter_readings(spec)
        self.embedding_multiplier = mup.forward_multiplier(spec, parametrisation, Role.EMBEDDING)
        self.head_multiplier = mup.forward_multiplier(spec, parametrisation, Role.READOUT)
        self._build()

    def _build(self) -> None:
        """Build the module at the spec's width, and attach its forward multipliers."""
        make_module = factory.load(self.spec.factory)
        try:
            model = make_module(self.spec.width)
        except Exception:
            if torch.get_default_device().type != "meta":
                raise
            # The factory may need the values of parameters, which the meta device does not have.
            with torch.device("cpu"):
                model = make_module(self.spec.width)
        names = {name for name, _ in model.named_parameters()}
        if names != self.readings.keys():
            unshared = sorted(names ^ self.readings.keys())[0]
            message = (
                f"has other parameters at width {self.spec.width} than at {self.spec.base_width} "
                f"({unshared}); width may change the shapes of parameters, but neither their "
                "number nor their names"
            )
            raise InvalidInput.of(FACTORY_FIELD, message)
        self.module = model
        for multiplier in self.multipliers():
            multiplier.attach(model)

    def multipliers(self) -> list[ForwardMultiplier]:
        """The forward multipliers other than 1, in the order of their modules' paths. Raises
        InvalidInput if a parameter needs a multiplier that no hook on its module can apply
        (`owner_path`). Also raises InvalidInput if a tied head would have to be rescaled."""
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
        """Raise InvalidInput if the parameter is a tied head (a matrix that is both embedding and
        readout) and the spec has the head form `rescaled` under mup. This form changes only
        parameters with the role readout, and a tied head has the role embedding."""
        tied = reading.makes_logits and reading.role is Role.EMBEDDING
        if tied and self.parametrisation == "mup" and self.spec.head_form == "rescaled":
            message = (
                f"rescaled would not change the tied head {name}; use head_form: multiplier, or "
                "untie the head from the embedding"
            )
            raise InvalidInput.of("model.head_form", message, "rescaled")

    def initialise(self, optimizer: OptimizerSpec, seed: int) -> None:
        """Build the module again with this seed, then scale each parameter to the size that
        `init_std` returns. Vectors, and parameters that are all zero, are not scaled. Nothing is
        scaled if `keeps_initial_values` is true."""
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
        """True if the initial values stay as the factory made them. This is the case at the
        base width if `init_scale` is 1."""
        return self.spec.multiplier == 1.0 and optimizer.init_scale == 1.0

    def init_std(self, name: str, role: Role, optimizer: OptimizerSpec) -> float:
        """The size that a parameter must have: its size at the base width times the
        parametrisation's factor. For a hidden matrix, `init_scale` is a further factor."""
        scale = optimizer.init_scale if role is Role.HIDDEN else 1.0
        base = base_sizes(self.spec.factory, self.spec.base_width)[name]
        factors = mup.factors(self.spec, optimizer, role, trained_by(optimizer.name, role))
        return base * scale * factors.init_std

    def parameter_roles(self) -> dict[str, Role]:
        """The role of every parameter, by name."""
        return {name: reading.role for name, reading in self.readings.items()}

    def layout(self, name: str, optimizer: OptimizerSpec) -> MatrixLayout:
        """How to view a hidden parameter as the matrices that Muon orthogonalises."""
        layout = self.readings[name].layout
        assert layout is not None, "a hidden parameter has a layout"
        return layout

    def reseed(self, seed: int) -> None:
        """Seed the random numbers that the model draws in a step, for instance for dropout."""
        torch.manual_seed(seed)

    def depth_factors(self, name: str) -> mup.DepthFactors:
        """Return factors of 1: telescope does not know the model's residual branches."""
        return mup.UNSCALED

    def hidden_layers(self) -> dict[str, Layer]:
        """The layers that multiply by a HIDDEN matrix of their own. The keys are usually the
        layers' paths in the module."""
        return hidden_layers(self.module, self.readings)

    def scores(self) -> tuple[Scores, ...]:
        """Return no modules: telescope does not know where the model computes attention."""
        return ()

    def last(self) -> nn.Module | None:
        """The module that multiplies the last features by the readout's matrix, or None."""
        return readout_module(self.module, self.readings)

    def __call__(self, tokens: Tensor) -> Tensor:  # (B, T) -> (B, T, V)
        """The logits of the next token at each position. If the model computes its own loss, the
        result is a scalar instead: its loss with the same tokens as inputs and as targets."""
        output = self.module(tokens, tokens) if self.spec.output == "loss" else self.module(tokens)
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        return logits

    def own_loss(self, windows: Tensor) -> Tensor | None:  # (B, T + 1) -> ()
        """The mean loss on `windows` if the model computes its own loss, otherwise None."""
        if self.spec.output != "loss":
            return None
        result: Tensor = self.module(windows[:, :-1], windows[:, 1:])
        return result
