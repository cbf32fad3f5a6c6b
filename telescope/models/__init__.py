"""Models: telescope's own Transformer, and users' modules.

In reading order:

- telescope's own model: `attention` · `transformer`
- a user's model: `factory`, which builds it · `uses`, the operations that use its parameters ·
  `classification` and `reading`, the roles of its parameters · `multipliers`, forward multipliers
  as hooks · `user_layers`, its hidden layers and its readout · `user_model`, the model in training
- `family`, the interfaces of a family of models, with `own_family` and `user_family` · `build`, the
  table of families and the model of a spec
"""
