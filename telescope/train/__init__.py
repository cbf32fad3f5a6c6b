"""Training runs: one loop over packs of trials.

In reading order: `run`, one trial in training · `loop`, all its steps · `pack`, `program`,
`compiled`: trials of one shape as one program · `probes`, measurements inside the model ·
`checkpoint` · `branch`, runs that share steps · `flops`.
"""

from telescope.train.loop import train, train_one

__all__ = ["train", "train_one"]
