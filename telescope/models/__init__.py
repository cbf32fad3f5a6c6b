"""Models: our Transformer, and users' own modules.

In reading order: `attention` and `transformer`, ours · for a user's model, `factory`: where it
comes from, `uses`: what its parameters do, `reading`: their roles, `user_model`: its training ·
`family`, the protocol of a family of models, with `own_family` and `user_family` · `build`, the
model of a spec, and the table of families.
"""
