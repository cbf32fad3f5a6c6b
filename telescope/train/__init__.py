"""The training of trials. A trial is one training run. One loop trains a *pack*: one or more trials
with models and batches of equal shapes.

The files in reading order:

- One trial in training: `run`, with `training_data` (the batches), `evaluation` (the loss on
  held-out text), `table_evaluation` (the metrics of a task that is given as a table of questions
  and answers) and `divergence` (the test that decides whether a run has diverged). `loop` takes the
  optimizer steps of all trials in a pack.
- Several trials at once: `pack`, `compiled` (compilation by torch.compile) and `program` (the
  choice of how many trials run together, and whether they are compiled).
- Further parts: `probes` (measurements inside the model), `checkpoint` (files from which a trial
  continues), `branch` (runs that share their first steps) and `flops` (floating-point operations of
  a trial).
"""

from telescope.train.loop import train, train_one

__all__ = ["train", "train_one"]
