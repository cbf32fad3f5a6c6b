"""Statistics of losses against tokens, batch sizes and devices."""
