"""The service: HTTP, command line, coordinator and database."""
