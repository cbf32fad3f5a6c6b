"""The values that planned numbers may have: powers of 2 whose exponents are multiples of 1/64.

An *octave* is a factor of 2, so a number of octaves is a logarithm to base 2. The multiples of 1/64
octave form the *lattice*, to which planned numbers are rounded. Otherwise, a new fit of the same
data could plan trials that differ from earlier trials only in the last digits.
"""

OCTAVE_PARTS = 64


def snap(octaves: float) -> float:
    """The nearest multiple of 1/64 octave."""
    return round(octaves * OCTAVE_PARTS) / OCTAVE_PARTS


def from_octaves(octaves: float) -> float:
    """2 to the power of `octaves`, where `octaves` is rounded to the lattice. The result is rounded
    to 12 digits, so that platforms whose arithmetic differs in the last bit get the same number."""
    return float(f"{2.0 ** snap(octaves):.12g}")
