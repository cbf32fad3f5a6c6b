"""Benchmarks that take too long for the test suite; each has `--quick`.

Results go into the pages of docs/log/, which docs/log.md lists.

- speed: `throughput` with its `arms` and `peers`, `service`, `steps`, `gpu`, `data`, `turnaround`,
  `frontier_answers`
- answers: `coordinates`, `frontier`, `surfaces`, `search`, `transfer`, `decay`, `qk_clip`,
  `compute_time`
- two commits: `unchanged`, with `checkouts` and `comparison`
- shared: `arguments`, `machine`, `recipes`
"""
