"""The modules of a user's model that training measures: its hidden layers and its readout.

Parts: `hidden_layers` · `readout_module`.
"""

from collections.abc import Mapping

from torch import nn

from telescope.models.classification import ParameterReading
from telescope.models.family import Layer
from telescope.parametrisation.roles import Role


def hidden_layers(model: nn.Module, readings: Mapping[str, ParameterReading]) -> dict[str, Layer]:
    """A layer for each HIDDEN matrix that only its own module multiplies by; stacks of matrices and
    convolutions are left out. The key is the module's path or, for every further matrix of the same
    module, the parameter's name."""
    layers: dict[str, Layer] = {}
    for name, reading in readings.items():
        owner, _, own_name = name.rpartition(".")
        layout = reading.layout
        if reading.role is not Role.HIDDEN or layout is None or layout.stack:
            continue
        if model.get_parameter(name).ndim == 2 and reading.product_at == owner:
            path = name if owner in layers else owner
            transposed = layout.columns == (0,)
            layers[path] = Layer(model.get_submodule(owner), own_name, transposed)
    return layers


def readout_module(model: nn.Module, readings: Mapping[str, ParameterReading]) -> nn.Module | None:
    """The module that holds the readout's matrix, and whose input is the last features; None if no
    module does. Of several readouts, the largest counts: a router of experts is a readout, too."""
    module_by_size: dict[int, nn.Module] = {}
    for name, reading in readings.items():
        if reading.makes_logits and reading.product_at is not None:
            module, parameter = model.get_submodule(reading.product_at), model.get_parameter(name)
            if any(own is parameter for own in module.parameters(recurse=False)):
                module_by_size.setdefault(parameter.numel(), module)
    return module_by_size[max(module_by_size)] if module_by_size else None
