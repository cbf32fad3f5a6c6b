"""The models that telescope trains: its own Transformer, and modules that users write.

The files in reading order:

- telescope's own model: `attention`, `dropout` and `transformer`.
- A user's model: `factory` imports the function that builds it. `uses` records how a forward pass
  uses each parameter. `classification` and `reading` find each parameter's role: embedding, hidden
  matrix, readout or vector. `multipliers` scales inputs and outputs of modules. `user_layers` finds
  the modules that training measures. `user_model` is the model in training.
- Both kinds of model: `family` defines the interfaces that they share. `own_family` and
  `user_family` implement them. `build` builds the model that a specification describes. `losses`
  defines losses on logits.
"""
