"""A ladder of widths and the statistical model of its losses."""
