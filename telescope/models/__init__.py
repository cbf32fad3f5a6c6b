"""Models: our Transformer, and users' own modules."""
