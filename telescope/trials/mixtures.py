"""The corpora that a model learns from, and their proportions.

The field `data.corpus` of a job is one corpus, or a *mixture*: a mapping of two or more corpora to
weights, for example `{python-stdlib: 7, python-docs: 3}`. Each corpus of a mixture is a *part*. The
*share* of a part is its weight divided by the sum of all weights. A single corpus is one part with
share 1.

Each training window comes from one part. The part is drawn at random, and the shares are the
probabilities (telescope.data.batches). The held-out loss is the mean of the losses on the parts,
weighted by their shares (telescope.train.evaluation).
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

LARGEST_WEIGHT = 1e9
SMALLEST_SHARE = 1e-6  # a model would read almost nothing of a part with a smaller share


@dataclass(frozen=True)
class Part:
    """A part of the data: the name or path of its corpus, and its weight."""

    corpus: str
    weight: float


def parts(corpus: str | tuple[Part, ...]) -> tuple[Part, ...]:
    """The parts of `data.corpus`, with shares as weights. Shares are rounded to 12 digits, so that
    the weights 7 and 3 give the same shares as the weights 0.7 and 0.3."""
    if isinstance(corpus, str):
        return (Part(corpus, 1.0),)
    total = math.fsum(part.weight for part in corpus)
    return tuple(Part(part.corpus, float(f"{part.weight / total:.12g}")) for part in corpus)


def corpus_label(corpus: str | tuple[Part, ...]) -> str:
    """A text for messages that names the corpora of `data.corpus`."""
    if isinstance(corpus, str):
        return f"corpus {corpus}"
    return "mixture of " + ", ".join(
        f"{part.corpus} ({100 * part.weight:.4g} %)" for part in parts(corpus)
    )


def _validated(value: object) -> str | tuple[Part, ...]:
    """The validated value of `data.corpus`: the name or path of a corpus, or the parts of a
    mixture, sorted by name. Raises ValueError if the value is neither a string nor a
    mixture, if the string is empty, or if `_check_parts` refuses the mixture."""
    match value:
        case "":
            raise ValueError(
                "should have at least 1 character; name a corpus, or give the path of one"
            )
        case str():
            return value
        case dict():
            mixture = tuple(Part(corpus, weight) for corpus, weight in value.items())
        case tuple() if all(isinstance(part, Part) for part in value):
            mixture = value
        case _:
            raise ValueError(
                "must be a string that names a corpus, or a mapping of two or more corpora to "
                "weights, such as {python-stdlib: 7, python-docs: 3}"
            )
    _check_parts(mixture)
    validated = (Part(part.corpus, float(part.weight)) for part in mixture)
    return tuple(sorted(validated, key=lambda part: part.corpus))


def _check_parts(mixture: tuple[Part, ...]) -> None:
    """Raise ValueError if a mixture has fewer than two parts, or if one of the parts has no name,
    an invalid weight, or a share below SMALLEST_SHARE."""
    if len(mixture) < 2:
        raise ValueError(
            "a mixture has two parts or more; give a single corpus by its name or path alone, "
            "without a weight"
        )
    for part in mixture:
        if not isinstance(part.corpus, str) or not part.corpus:
            raise ValueError(
                "a part of the mixture has no name; give each weight to the name or the path of a "
                "corpus"
            )
        if not _is_weight(part.weight):
            raise ValueError(
                f"{part.corpus} has the weight {part.weight!r:.40}; use a number above 0 and up to "
                f"{LARGEST_WEIGHT:g} as its weight, or leave this corpus out"
            )
    for part in parts(mixture):
        if part.weight < SMALLEST_SHARE:
            raise ValueError(
                f"{part.corpus} has less than a millionth of the sum of the weights; give this "
                "corpus a larger weight, or leave it out"
            )


def _is_weight(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 < value <= LARGEST_WEIGHT  # type: ignore[operator]


def _plain(corpus: str | tuple[Part, ...]) -> Any:
    return corpus if isinstance(corpus, str) else {part.corpus: part.weight for part in corpus}


SCHEMA = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "additionalProperties": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": LARGEST_WEIGHT,
            },
            "minProperties": 2,
        },
    ]
}
CorpusOrMixture = Annotated[
    str | tuple[Part, ...],
    PlainValidator(_validated),
    PlainSerializer(_plain),
    WithJsonSchema(SCHEMA),
]
