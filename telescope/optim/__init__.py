"""Muon and AdamW over the parameter groups of a model."""
