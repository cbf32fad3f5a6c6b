"""Executors on Ray: the only package that imports it.

In reading order: `cluster`, connection and capacity · `placement`, shortages of workers ·
`worker`, the class inside an actor · `slot`, one warm actor and its thread · `actors`, the executor
of slots · `experiment`, callbacks of Ray Tune · `tune`, the executor on Ray Tune.
"""

from telescope.extras import require_extra

require_extra("ray")
