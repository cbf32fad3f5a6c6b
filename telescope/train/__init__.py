"""Training runs: one loop over packs of trials."""

from telescope.train.loop import train, train_one

__all__ = ["train", "train_one"]
