"""Training runs: one loop over packs of trials.

In reading order:

- `run`, one trial in training · `evaluation`, the held-out loss · `divergence`, the test for
  diverged runs · `loop`, the steps of all trials of a pack
- trials of one shape as one program: `pack` · `compiled` · `program`, which chooses the fastest
- `probes`, measurements inside the model · `checkpoint` · `branch`, runs that share steps · `flops`
"""

from telescope.train.loop import train, train_one

__all__ = ["train", "train_one"]
