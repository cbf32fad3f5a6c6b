"""Models: our Transformer, and users' own modules.

In reading order: `attention` and `transformer`, ours · `factory`, `uses`, `reading`, `user_model`,
a user's: where it comes from, what its parameters do, their roles, and how it is trained ·
`family`, what a family of models is asked, with `own_family` and `user_family` · `build`, the model
of a spec, and the table of families.
"""
