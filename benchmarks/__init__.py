"""Measurements that are too long for the test suite; results go into docs/log.md. Each has `--quick`.

- speed: `throughput` with its `arms` and `peers`, `service`, `steps`, `gpu`, `data`, `turnaround`, `frontier_answers`
- answers: `coordinates`, `frontier`, `surfaces`, `search`, `transfer`, `decay`, `qk_clip`, `compute_time`
- two commits: `unchanged`, with `checkouts` and `comparison`
- shared: `arguments`, `machine`, `recipes`
"""
