"""The lattice of 1/64 octave that every planned number lies on.

Planned numbers are rounded to it, so that a refit does not plan trials that differ only in a late
digit.
"""

OCTAVE_PARTS = 64


def snap(octaves: float) -> float:
    """The nearest multiple of 1/64 octave."""
    return round(octaves * OCTAVE_PARTS) / OCTAVE_PARTS


def from_octaves(octaves: float) -> float:
    """2**octaves on the lattice, rounded to 12 digits, so that the last bit of a platform's
    arithmetic does not change a digest."""
    return float(f"{2.0 ** snap(octaves):.12g}")
