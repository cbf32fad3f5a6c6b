"""Specifications, identities and outcomes of training runs.

In reading order:

- `types`, which all specifications share · `lattice`, on which planned numbers lie
- the parts of a specification: `architecture`, `model`, `presets`, `optimizer`, `mixtures`, `data`,
  `horizon` · `spec`, the complete specification · `identity`, its digest
- `numerics`, the arithmetic that a trial was computed with · `outcome`, its states, points and
  failures · `outline`, its curve at few points
"""
