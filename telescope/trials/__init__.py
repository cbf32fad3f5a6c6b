"""Specifications, identities and outcomes of *trials*. A trial is one training run.

The files in reading order:

- `types` defines the types of fields in specifications. `lattice` rounds the numbers that a study
  plans.
- `architecture`, `model`, `presets`, `optimizer`, `mixtures`, `table`, `data` and `horizon` define
  the parts of a specification. `spec` defines the complete specification. `identity` computes
  digests.
- `numerics` names the software and hardware on which the numbers of a trial depend. `outcome`
  defines the states, curve points and failures of a trial. `outline` reduces a curve to few points.
  `milestones` finds when a run on an algorithmic task memorised, generalised and collapsed.
"""
