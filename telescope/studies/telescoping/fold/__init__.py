"""The fold of a ladder's stages over its finished trials.

In reading order: `specs`, the run that a planned point stands for · `ladders`, those of a study, with their costs ·
`estimates`, of the optimum at the target · `progress`, the fold itself.
"""
