"""Documents as users write them: YAML 1.2, where 2e-3 is a number."""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


def from_yaml(text: str) -> Any:
    """The value that a text holds; YAMLError, whatever ruamel.yaml itself raises, where it holds none."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except TypeError:  # of a list of mappings as a key
        raise YAMLError("keys must be text; quote it") from None
    except (OverflowError, ValueError) as error:  # of dates that the calendar lacks, and characters that Unicode lacks
        raise YAMLError(str(error)) from None
