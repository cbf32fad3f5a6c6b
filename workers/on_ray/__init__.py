"""Executors on Ray: the only package that imports it.

In reading order: `cluster`, connection and capacity · `slot`, one warm actor · `actors`, the
executor of slots · `experiment`, `tune`, the executor on Ray Tune.
"""

from telescope.extras import require_extra

require_extra("ray")
