"""The HTTP interface.

In reading order: `app`, the service · `schemas` of resources · `dependencies` and `bodies` of
requests · `representations` of responses · `errors` · `routes`, one module per resource ·
`openapi`.
"""
