"""The roles of parameters.

The role of a parameter states which of its dimensions grow with the model's width. The role selects
the scaling rules for the parameter (telescope.parametrisation.mup). `roles` finds the roles in
telescope's own Transformer. telescope.models.reading finds the roles in a user's model.
"""

from enum import StrEnum

from torch import nn

from telescope.trials.types import OptimizerName


class Role(StrEnum):
    """How the shape of a parameter grows with width."""

    EMBEDDING = "embedding"  # only fan_out grows
    HIDDEN = "hidden"  # both fan_in and fan_out grow
    READOUT = "readout"  # only fan_in grows
    VECTOR = "vector"  # there is no fan_in, as in a gain or a bias


def trained_by(name: OptimizerName, role: Role) -> OptimizerName:
    """The optimizer that trains the parameters of a role if the run's optimizer is `name`."""
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
    """The role of every parameter, by the parameter's qualified name. `readout` is the module of
    the output head, or None if the head shares the embedding's matrix.

    Raises LookupError if a parameter belongs to a module whose type is not in MODULE_ROLES.
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
