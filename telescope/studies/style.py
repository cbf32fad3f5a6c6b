"""Colours that the pictures of all studies share."""

INK, MUTED, TARGET = "#22262b", "#7a828c", "#d1495b"
