"""Specifications, identities and outcomes of training runs.

In reading order:

- `types`, the field types of specifications · `lattice`, the values that planned numbers may have
- the parts of a specification: `architecture`, `model`, `presets`, `optimizer`, `mixtures`, `data`,
  `horizon` · `spec`, the complete specification · `identity`, its digest
- `numerics`, the arithmetic that a trial was computed with · `outcome`, the states, points and
  failures of a trial · `outline`, a curve at few points
"""
