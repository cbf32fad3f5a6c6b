"""Schedules: which runs a ladder needs next."""
