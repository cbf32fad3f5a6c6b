"""Muon and AdamW over the parameter groups of a model.

In reading order: `groups`, of parameters · `schedule`, of the learning rate · `newton_schulz`,
`muon`, the update of a matrix · `optimizer`, for a whole model · `qk_clip`, of attention logits.
"""
