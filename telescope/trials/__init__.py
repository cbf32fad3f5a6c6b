"""Specifications, identities and outcomes of training runs."""
