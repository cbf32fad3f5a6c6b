"""The fold of a ladder's stages over its finished trials.

In reading order: `specs`, the run of a planned point · `ladders` of a study, with their costs ·
`estimates` of the optimum at the target · `progress`, the fold itself.
"""
