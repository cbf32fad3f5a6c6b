"""Which role does each parameter play as width grows?

The role decides everything that muP scales (`telescope.mup`) and which optimizer a parameter goes to (`telescope.optimizer`). It is
read from the module a parameter belongs to, never from its name or number of dimensions: an embedding and a head are matrices too,
and may be square.

| role      | fan_in | fan_out | examples                         |
|-----------|--------|---------|----------------------------------|
| EMBEDDING | fixed  | grows   | embeddings of tokens, positions  |
| HIDDEN    | grows  | grows   | attention and feed-forward       |
| READOUT   | grows  | fixed   | output head                      |
| VECTOR    | -      | either  | norm gains, biases               |
"""

from enum import StrEnum

from torch import nn


class Role(StrEnum):
    """How a parameter grows with width."""

    EMBEDDING = "embedding"
    HIDDEN = "hidden"
    READOUT = "readout"
    VECTOR = "vector"


MODULE_ROLES: dict[type[nn.Module], Role] = {
    nn.Embedding: Role.EMBEDDING,
    nn.Linear: Role.HIDDEN,
    nn.RMSNorm: Role.VECTOR,
    nn.LayerNorm: Role.VECTOR,
}


def roles(model: nn.Module, readout: nn.Module | None) -> dict[str, Role]:
    """Role of every parameter by its qualified name; `readout` is the output head, None where embeddings are tied.

    Raises LookupError, naming the parameter, for a module type that has no role.
    """
    found: dict[str, Role] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(path, recurse=False):
            if type(module) not in MODULE_ROLES:
                raise LookupError(f"parameter {name} belongs to a {type(module).__name__}, which has no role in telescope.roles")
            role = Role.READOUT if module is readout else MODULE_ROLES[type(module)]
            found[name] = Role.VECTOR if parameter.ndim == 1 else role
    return found
