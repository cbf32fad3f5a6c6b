"""The forecast of a telescoping study's cost."""
