"""The training of trials. A trial is one training run. One loop trains a *pack*: one or more trials
with models and batches of equal shapes.

The files in reading order:

- One trial in training: `run`, with `training_data` (the batches), `evaluation` (the held-out
  loss), `table_evaluation` (accuracies on the table of a task) and `divergence` (the test that
  decides whether a run has diverged). `loop` takes the steps of all trials in a pack.
- Several trials as one program: `pack`, `compiled` (compilation by torch.compile) and `program`
  (the choice of the fastest program).
- Further parts: `probes` (measurements inside the model), `checkpoint` (files from which a trial
  continues), `branch` (runs that share their first steps) and `flops` (floating-point operations of
  a trial).
"""

from telescope.train.loop import train, train_one

__all__ = ["train", "train_one"]
