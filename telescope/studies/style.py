"""Colours that all pictures share."""

INK, MUTED, TARGET = "#22262b", "#7a828c", "#d1495b"
