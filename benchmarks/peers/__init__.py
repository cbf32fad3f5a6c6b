"""Programs that users would write without telescope for the same trial.

In reading order: `plain`, the trial · `loops`, a process per core · `ray_tune`, both kinds of
trainable.
"""
