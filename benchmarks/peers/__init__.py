"""The programs that users would write for the same trials without telescope.

In reading order: `plain`, one trial · `loops`, one process per core · `ray_tune`, both kinds of
trainable.
"""
