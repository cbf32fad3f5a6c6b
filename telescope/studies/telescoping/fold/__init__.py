"""The fold of a ladder's stages over its finished trials."""
