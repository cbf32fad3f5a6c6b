"""The HTTP interface.

In reading order: `app`, the ASGI application · `schemas`, the types of bodies and responses ·
`dependencies`, parameters that handlers share · `bodies`, the parser of request bodies ·
`representations`, JSON, CSV and ETags of responses · `errors`, the responses to failures ·
`routes`, one module per resource · `openapi`, the document that describes all routes.
"""
