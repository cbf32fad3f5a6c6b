"""Finds the modules of a user's model that training measures: its hidden layers and its readout."""

from collections.abc import Mapping

from torch import nn

from telescope.models.classification import ParameterReading
from telescope.models.family import Layer
from telescope.parametrisation.roles import Role


def hidden_layers(model: nn.Module, readings: Mapping[str, ParameterReading]) -> dict[str, Layer]:
    """The layers that multiply by a HIDDEN matrix of their own. A HIDDEN matrix is one whose two
    sides both grow with width.

    Convolutions and stacks of matrices are left out, and so are matrices that several modules use
    and matrices that their owner does not use. The key of a layer is the path of its module. If a
    module owns several such matrices, this path is the key of the first; the keys of the others
    are their parameter names.
    """
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
    """The module that owns the readout's matrix and multiplies by it. The input of this module is
    the last features, from which the logits are computed. None if there is no such module.

    If several modules qualify, the result is the one with the largest matrix. For example, a router
    of experts may qualify besides the readout, because its matrix also has the role READOUT.
    """
    module_by_size: dict[int, nn.Module] = {}
    for name, reading in readings.items():
        if reading.makes_logits and reading.product_at is not None:
            module, parameter = model.get_submodule(reading.product_at), model.get_parameter(name)
            if any(own is parameter for own in module.parameters(recurse=False)):
                module_by_size.setdefault(parameter.numel(), module)
    return module_by_size[max(module_by_size)] if module_by_size else None
