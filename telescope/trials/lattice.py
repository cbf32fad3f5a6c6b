"""The lattice of 1/64 octave that every planned number lies on."""

OCTAVE_PARTS = 64


def snap(octaves: float) -> float:
    """The nearest multiple of 1/64 octave. Planned numbers lie on this lattice, so that a refit
    plans no trial that differs only in a late digit."""
    return round(octaves * OCTAVE_PARTS) / OCTAVE_PARTS


def from_octaves(octaves: float) -> float:
    """The planned value 2**octaves, rounded to 12 digits so that the last bit of a platform's
    arithmetic changes no digest."""
    return float(f"{2.0 ** snap(octaves):.12g}")
