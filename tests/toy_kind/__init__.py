"""A kind of study as small as can be: two learning rates at one width, and the better one as the answer."""
