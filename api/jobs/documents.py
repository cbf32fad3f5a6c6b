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
    except TypeError:  # a list of mappings as a key
        raise YAMLError("keys must be text; write the key in quotes") from None
    except (OverflowError, ValueError) as error:  # impossible dates, and characters outside Unicode
        raise YAMLError(str(error)) from None
