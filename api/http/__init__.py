"""The HTTP interface.

In reading order: `app`, the ASGI application · `schemas` of resources · `dependencies` of
handlers · `bodies` of requests · `representations` of responses · `errors` · `routes`, one module
per resource · `openapi`, the document that describes all of them.
"""
