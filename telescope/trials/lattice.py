"""The lattice of planned numbers: the multiples of 1/64 octave.

Every planned number is rounded to the lattice, so that a refit does not plan trials that differ
from earlier ones only in the last digits.
"""

OCTAVE_PARTS = 64


def snap(octaves: float) -> float:
    """The nearest multiple of 1/64 octave."""
    return round(octaves * OCTAVE_PARTS) / OCTAVE_PARTS


def from_octaves(octaves: float) -> float:
    """2**octaves on the lattice, rounded to 12 digits, so that platforms whose arithmetic differs
    in the last bit compute the same digest."""
    return float(f"{2.0 ** snap(octaves):.12g}")
