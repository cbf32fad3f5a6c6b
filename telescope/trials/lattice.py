"""The lattice of 1/64 octave that every planned number lies on."""

OCTAVE_PARTS = 64


def snap(octaves: float) -> float:
    """Nearest point of the planning lattice, 1/64 octave; planned numbers lie on it so that refits make no new trials."""
    return round(octaves * OCTAVE_PARTS) / OCTAVE_PARTS


def from_octaves(octaves: float) -> float:
    """The planned value 2**octaves, cut to 12 digits so that no platform's last bit changes a digest."""
    return float(f"{2.0 ** snap(octaves):.12g}")
