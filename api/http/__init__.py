"""The HTTP interface.

In reading order: `app`, the service · `schemas`, what clients see · `dependencies` and `bodies`, of requests · `representations`, of
answers · `errors` · `routes`, a module per resource · `openapi`.
"""
