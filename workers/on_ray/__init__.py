"""Executors on Ray; no other package imports Ray.

In reading order: `cluster`, connection and capacity · `placement`, shortages of workers ·
`worker`, the class inside an actor · `slot`, one warm actor and its thread · `actors`, the executor
with one slot per worker · `experiment`, callbacks of Ray Tune · `tune`, the executor on Ray Tune.
"""

from telescope.extras import require_extra

require_extra("ray")
