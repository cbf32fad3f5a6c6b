"""The verdict on a sweep that was run elsewhere."""
