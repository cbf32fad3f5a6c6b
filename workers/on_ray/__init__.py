"""Executors on Ray, a framework that runs Python code on the machines of a cluster.

Apart from benchmarks and tests, no other package imports Ray. In reading order:

- `cluster`: the connection to Ray, and the number of workers that fit
- `placement`: events that report that workers are missing, and why
- `worker`: the class that runs inside a Ray actor (a process of Ray that holds one object)
- `slot`: one actor, and the thread that looks after it
- `actors`: the executor that uses slots
- `experiment`: the objects that Ray Tune calls
- `tune`: the executor that uses Ray Tune
"""

from telescope.extras import require_extra

require_extra("ray")
