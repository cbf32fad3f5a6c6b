"""The HTTP interface.

The modules in reading order: `app` is the ASGI application. `schemas` declares the types of bodies
and responses. `dependencies` declares the parameters that handlers share. `bodies` parses request
bodies. `representations` makes the JSON, CSV and ETags of responses, and `tables` chooses between
JSON and CSV. `errors` turns errors into responses. `routes` has one module per resource. `openapi`
completes the OpenAPI document.
"""
