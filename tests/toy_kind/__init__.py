"""A minimal kind of study: two learning rates at one width, the better one as the answer."""
