"""The parser of the YAML documents that users write.

The documents are YAML 1.2, in which 2e-3 is a number.
"""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


def from_yaml(text: str) -> Any:
    """Parse YAML.

    Raises YAMLError if the text is not valid, and RecursionError if it is nested too deeply.
    """
    try:
        return YAML(typ="safe", pure=True).load(text)
    except TypeError:  # a key is a list of mappings
        raise YAMLError("keys must be text; quote it") from None
    except (OverflowError, ValueError) as error:  # an impossible date or character
        raise YAMLError(str(error)) from None
