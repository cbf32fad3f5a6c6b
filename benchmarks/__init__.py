"""Measurements that are too long for the test suite; results go into docs/log.md."""
