"""Execution of trials: the executor interface, the runner inside a worker, and the executors that
place runners.

In reading order: `interface`, the contract of every executor · `desk`, assignments and events of
any executor · `packs`, which trials train together · `runner`, the code inside a worker · `local`,
an executor in this process · `processes`, which ends what a dead process has left behind ·
`on_ray`, executors on Ray.
"""
