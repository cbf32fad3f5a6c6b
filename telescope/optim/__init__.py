"""The optimizers Muon and AdamW, which train the parameter groups of a model.

In reading order: `groups`, the parameter groups · `schedule`, the learning-rate schedule ·
`newton_schulz` and `muon`, Muon's update of matrices · `optimizer`, the optimizer of a whole model
· `qk_clip`, a limit on attention logits.
"""
