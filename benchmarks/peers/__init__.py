"""What a user would write today instead: the same trial, without a line of telescope in it.

In reading order: `plain`, the trial · `loops`, a process per core · `ray_tune`, both kinds of trainable.
"""
