"""Specifications, identities and outcomes of training runs.

In reading order:

- `types`, shared by all · `lattice`: planned numbers
- `model`, `presets`, `optimizer`, `mixtures`, `data`, `horizon`: the parts of a specification ·
  `identity`: digests · `spec`: the whole specification
- `numerics`: the arithmetic that a trial was computed with · `outcome`: its states, points and
  failures · `outline`: its curve, reduced
"""
