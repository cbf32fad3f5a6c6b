"""Where trials run: the executor interface, the runner inside a worker, and the executors that
place runners.

In reading order: `interface`, what every executor promises · `desk`, assignments and events of any
executor · `packs`, which trials train together · `runner`, what a worker does with them · `local`,
an executor in this process · `processes`, those that a dead one left behind · `on_ray`.
"""
