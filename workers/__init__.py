"""Where trials run: the executor interface, the runner inside a worker, and the executors that place runners."""
