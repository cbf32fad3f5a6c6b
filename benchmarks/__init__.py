"""Benchmarks that take too long for the test suite.

The results are kept in the pages of docs/log/, which docs/log.md lists.

- These benchmarks measure speed: `throughput` (with `arms` and `peers`), `service`, `steps`, `gpu`,
  `data`, `turnaround`, `frontier_answers`.
- These measure how good telescope's answers are: `coordinates`, `frontier`, `surfaces`, `search`,
  `transfer`, `decay`, `qk_clip`, `compute_time`, `grokking`.
- `unchanged` (with `checkouts` and `comparison`) compares the answers of two commits.
- The other modules are shared: `arguments`, `machine`, `recipes`.
"""
