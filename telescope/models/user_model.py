"""A user's own model under a parametrisation, without changes to its code.

muP is applied from outside: the module that the factory builds keeps its class, its names and its
state dict. Its initial values are scaled so that each parameter's size is that at the base width
times muP's factor (a model at the base width stays as it is), and forward multipliers are hooks on
the modules that compute the readout's logits or look up the embedding. A hook is a picklable value,
so it goes wherever the module goes: into copies, saved modules, compiled code and inference.

Parts: `InputScale`, `Scaled` (hooks) · `readings_of`, `base_sizes` (of narrow models) ·
`UserModel`, `Wrapped`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import torch
from torch import Tensor, nn

from telescope.errors import InvalidInput
from telescope.models import factory
from telescope.models.attention import Scores
from telescope.models.family import Layer
from telescope.models.reading import FACTORY_FIELD, ROLES_FIELD, Reading, built, infer
from telescope.parametrisation import mup
from telescope.parametrisation.layout import MatrixLayout
from telescope.parametrisation.roles import Role, trained_by
from telescope.trials.model import ModuleSpec
from telescope.trials.optimizer import OptimizerSpec
from telescope.trials.types import Parametrisation


@dataclass(frozen=True)
class InputScale:
    """A forward pre-hook that multiplies the module's first input."""

    factor: float

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0] * self.factor, *inputs[1:])


@dataclass(frozen=True)
class Scaled:
    """A forward hook that multiplies the module's output."""

    factor: float

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return output * self.factor


@lru_cache(maxsize=64)
def readings_of(spec: ModuleSpec) -> dict[str, Reading]:
    """Role, layout and place of each parameter, the same at all widths; read off the models at the
    base width and at twice the base width."""
    splits = {
        pattern: MatrixLayout(parts=cut) if isinstance(cut, tuple) else MatrixLayout(block_rows=cut)
        for pattern, cut in spec.splits
    }
    roles = {pattern: Role(role) for pattern, role in spec.roles}
    return infer(
        factory.load(spec.factory),
        (spec.base_width, 2 * spec.base_width),
        roles,
        splits,
        spec.output == "loss",
    )


@lru_cache(maxsize=64)
def base_sizes(name: str, base_width: int) -> dict[str, float]:
    """Root mean square of each parameter at the base width, as the factory initialises it."""
    model = built(factory.load(name), base_width)
    return {name: rms(parameter) for name, parameter in model.named_parameters()}


def rms(x: Tensor) -> float:
    """Root mean square of all entries."""
    return float(x.detach().float().square().mean().sqrt())


def width_problem(spec: ModuleSpec, parametrisation: Parametrisation) -> str | None:
    """The reason why this width cannot be built under a parametrisation, or None."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=()):
            UserModel(spec, parametrisation)
    except InvalidInput as error:
        return error.problems[0].message
    except Exception as error:  # a user's code can raise anything
        return (
            f"{spec.factory} raised {type(error).__name__}: {error}; choose a width that it builds"
        )
    return None


def check_vocabulary(spec: ModuleSpec, vocab_size: int) -> None:
    """Raise InvalidInput if the model does not take these tokens, or does not return what its spec
    declares."""
    tokens = torch.tensor([[0, vocab_size - 1, 0]])
    model = UserModel(spec, "standard")
    try:
        with model.evaluating(), torch.no_grad():
            loss = model.own_loss(tokens)
            output = model(tokens[:, :2]) if loss is None else loss
    except Exception as error:  # a user's code can raise anything
        message = (
            f"its model does not take the corpus's {vocab_size} tokens: "
            f"{type(error).__name__}: {error}; give it as large a vocabulary"
        )
        raise InvalidInput.of(FACTORY_FIELD, message, spec.factory) from error
    if spec.output == "loss" and output.numel() != 1:
        raise InvalidInput.of(
            "model.output",
            f"forward(tokens, targets) gave shape {tuple(output.shape)}; it must give one mean loss",
            "loss",
        )
    if spec.output == "logits" and (output.shape[:2] != (1, 2) or output.shape[-1] < vocab_size):
        message = f"gives logits of shape {tuple(output.shape)} for tokens (1, 2); they must be (1, 2, {vocab_size} or more)"
        raise InvalidInput.of(FACTORY_FIELD, message, spec.factory)


def readout_module(model: nn.Module, readings: Mapping[str, Reading]) -> nn.Module | None:
    """The module that takes the last features, which holds the readout's matrix; None if there is
    none."""
    # by the size of their outputs: a router of experts is a readout, too, and gives less
    found: dict[int, nn.Module] = {}
    for name, reading in readings.items():
        if reading.makes_logits and reading.product_at is not None:
            module, parameter = model.get_submodule(reading.product_at), model.get_parameter(name)
            if any(own is parameter for own in module.parameters(recurse=False)):
                found.setdefault(parameter.numel(), module)
    return found[max(found)] if found else None


def hidden_layers(model: nn.Module, readings: Mapping[str, Reading]) -> dict[str, Layer]:
    """The modules that multiply by one HIDDEN matrix and do nothing else, by path."""
    found: dict[str, Layer] = {}
    for name, reading in readings.items():
        owner, _, own_name = name.rpartition(".")
        layout = reading.layout
        if (
            layout is None
            or layout.stack
            or reading.role is not Role.HIDDEN
            or model.get_parameter(name).ndim != 2
        ):
            continue
        if reading.product_at == owner:
            path = name if owner in found else owner
            found[path] = Layer(model.get_submodule(owner), own_name, turned=layout.columns == (0,))
    return found


class Wrapped:
    """Methods that training needs, forwarded to the module that is held."""

    module: nn.Module

    def get_parameter(self, name: str) -> nn.Parameter:
        return self.module.get_parameter(name)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All parameters, a tied one once."""
        return self.module.named_parameters()

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.module.parameters()

    def state_dict(self) -> dict[str, Any]:
        """State of the user's module."""
        return self.module.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state)

    def to(self, device: torch.device | str) -> Self:
        self.module.to(device)
        return self

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Switch dropout off while the context lasts."""
        training = self.module.training
        self.module.eval()
        try:
            yield
        finally:
            self.module.train(training)


class UserModel(Wrapped):
    """A user's module with what telescope must know of it; takes the place of our `Transformer`."""

    def __init__(self, spec: ModuleSpec, parametrisation: Parametrisation) -> None:
        factory.require_unchanged(spec.factory, spec.content)
        self.spec, self.parametrisation = spec, parametrisation
        self.readings = readings_of(spec)
        self.embedding_multiplier = mup.forward_multiplier(spec, parametrisation, Role.EMBEDDING)
        self.head_multiplier = mup.forward_multiplier(spec, parametrisation, Role.READOUT)
        self._build()

    def _build(self) -> None:
        """Build the module of this width, with its multipliers."""
        make = factory.load(self.spec.factory)
        try:
            model = make(self.spec.width)
        except Exception:
            if torch.get_default_device().type != "meta":
                raise
            # the factory computes initial values, which the meta device cannot do
            with torch.device("cpu"):
                model = make(self.spec.width)
        names = {name for name, _ in model.named_parameters()}
        if names != self.readings.keys():
            odd = sorted(names ^ self.readings.keys())[0]
            raise InvalidInput.of(
                FACTORY_FIELD,
                f"has other parameters at width {self.spec.width} than at {self.spec.base_width} ({odd})",
            )
        self.module = model
        for place, hook, factor in self.multipliers():
            module = model.get_submodule(place)
            module.register_forward_pre_hook(
                InputScale(factor)
            ) if hook is InputScale else module.register_forward_hook(Scaled(factor))

    def multipliers(self) -> Iterator[tuple[str, type[InputScale] | type[Scaled], float]]:
        """The places of the forward multipliers: (path of a module, hook, factor). Raises
        InvalidInput if a parameter that needs one has no module of its own."""
        places: set[tuple[str, type[InputScale] | type[Scaled], float]] = set()
        owners = {
            path: {id(p) for p in module.parameters(recurse=False)}
            for path, module in self.module.named_modules()
        }
        for name, reading in self.readings.items():
            own = id(self.module.get_parameter(name))
            wanted: list[tuple[str | None, type[InputScale] | type[Scaled], float]] = []
            tied = reading.makes_logits and reading.role is Role.EMBEDDING
            if tied and self.parametrisation == "mup" and self.spec.head_form == "rescaled":
                message = f"rescaled would not change the tied head {name}; use head_form: multiplier, or untie it"
                raise InvalidInput.of("model.head_form", message, "rescaled")
            if reading.makes_logits:
                wanted.append((reading.product_at, InputScale, self.head_multiplier))
            if reading.role is Role.EMBEDDING:
                wanted.append(
                    (reading.embedded_at or reading.product_at, Scaled, self.embedding_multiplier)
                )
            for place, hook, factor in wanted:
                if factor == 1.0:
                    continue
                if place is None or own not in owners[place]:
                    raise InvalidInput.of(
                        ROLES_FIELD,
                        f"parameter {name} needs a forward multiplier, but no module of its own "
                        "applies it; put it into an nn.Linear or nn.Embedding, or use "
                        "model.head_form: rescaled for an untied head",
                        name,
                    )
                places.add((place, hook, factor))
        yield from sorted(places, key=lambda one: (one[0], one[2]))

    def initialise(self, optimizer: OptimizerSpec, seed: int) -> None:
        """Draw every parameter anew: as the factory does under this seed, then scale each to its
        size."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            self._build()
        with torch.no_grad():
            for name, reading in self.readings.items():
                parameter, std = (
                    self.get_parameter(name),
                    self.init_std(name, reading.role, optimizer),
                )
                if (
                    reading.role is not Role.VECTOR
                    and not self.as_it_stands(optimizer)
                    and (size := rms(parameter)) > 0
                ):
                    parameter.mul_(std / size)

    def as_it_stands(self, optimizer: OptimizerSpec) -> bool:
        """True if initial values are the factory's own."""
        return self.spec.multiplier == 1.0 and optimizer.init_scale == 1.0

    def init_std(self, name: str, role: Role, optimizer: OptimizerSpec) -> float:
        """Size of a parameter's initial values: its size at the base width times muP's factor."""
        scale = optimizer.init_scale if role is Role.HIDDEN else 1.0
        base = base_sizes(self.spec.factory, self.spec.base_width)[name]
        return (
            base
            * scale
            * mup.factors(self.spec, optimizer, role, trained_by(optimizer.name, role)).init_std
        )

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
        """1: telescope does not know the model's residual branches."""
        return mup.UNSCALED

    def hidden_layers(self) -> dict[str, Layer]:
        """Modules that multiply by a HIDDEN matrix and do nothing else, by path."""
        return hidden_layers(self.module, self.readings)

    def scores(self) -> tuple[Scores, ...]:
        """None: telescope does not know where the model's attention is."""
        return ()

    def last(self) -> nn.Module | None:
        """The module that takes the last features and holds the readout's matrix, if there is one."""
        return readout_module(self.module, self.readings)

    def __call__(self, tokens: Tensor) -> Tensor:  # (B, T) -> (B, T, V)
        """Logits of the next token at each position; or, from a model that returns its loss, the
        loss with the tokens themselves as targets: ()."""
        output = self.module(tokens, tokens) if self.spec.output == "loss" else self.module(tokens)
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        return logits

    def own_loss(self, windows: Tensor) -> Tensor | None:  # (B, T + 1) -> ()
        """Mean loss if the model computes it; None if it gives logits."""
        if self.spec.output != "loss":
            return None
        result: Tensor = self.module(windows[:, :-1], windows[:, 1:])
        return result
