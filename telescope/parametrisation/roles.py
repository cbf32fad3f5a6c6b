"""The role of a parameter: how its shape grows with width. The role selects the parameter's muP
rules.

Parts: `Role` · `trained_by`, the optimizer of a role · `MODULE_ROLES`, `roles`: the roles of the
parameters of telescope's own Transformer, by the type of the module that holds them.
telescope.models.reading finds the roles in a user's model.
"""

from enum import StrEnum

from torch import nn

from telescope.trials.types import OptimizerName


class Role(StrEnum):
    """How the shape of a parameter grows with width."""

    EMBEDDING = "embedding"  # only fan_out grows
    HIDDEN = "hidden"  # both fan_in and fan_out grow
    READOUT = "readout"  # only fan_in grows
    VECTOR = "vector"  # one dimension: gains and biases


def trained_by(name: OptimizerName, role: Role) -> OptimizerName:
    """The optimizer that trains the parameters of a role in a run of optimizer `name`."""
    match name:
        case "muon":
            return "muon" if role is Role.HIDDEN else "adamw"
        case "adamw":
            return "adamw"


MODULE_ROLES: dict[type[nn.Module], Role] = {
    nn.Embedding: Role.EMBEDDING,
    nn.Linear: Role.HIDDEN,
    nn.RMSNorm: Role.VECTOR,
    nn.LayerNorm: Role.VECTOR,
}


def roles(model: nn.Module, readout: nn.Module | None) -> dict[str, Role]:
    """Role of every parameter, keyed by the parameter's qualified name. `readout` is the module of
    the output head, or None if embeddings are tied.

    Raises LookupError, which names the parameter, if the type of its module has no role.
    """
    role_of: dict[str, Role] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(path, recurse=False):
            if type(module) not in MODULE_ROLES:
                owner = f"parameter {name} belongs to a {type(module).__name__}"
                raise LookupError(f"{owner}, which has no role in telescope.parametrisation.roles")
            role = Role.READOUT if module is readout else MODULE_ROLES[type(module)]
            role_of[name] = Role.VECTOR if parameter.ndim == 1 else role
    return role_of
