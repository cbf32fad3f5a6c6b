"""Execution of trials: the executors, their interface, and the runner inside a worker.

In reading order: `interface`, the contract of every executor · `desk`, assignments and events of
any executor · `packs`, which trials train together · `runner`, the code inside a worker · `local`,
an executor in this process · `processes`, which kills the descendants of a dead process ·
`on_ray`, executors on Ray.
"""
