"""Hyperparameters for a model too large to sweep.

The telescoping study (`kind: telescope`) sweeps at a small width, narrows the search at each
doubling, and extrapolates to the target. There is one ladder per optimizer and, if a job compares
architectures or data, per variant. Each ladder replays its schedule over its finished trials, and
does not wait for other ladders. In this list, each package imports only earlier ones:

- `axes`, `reasons`, `evidence`, `late_evidence`, `report`: the types of scales, reasons and answers
- `question/`: the document · `ladder/`: a ladder and the statistical model of its losses
- `schedules/`: the next runs, by `robust` or `paper` · `fold/`: stages replayed over finished
  trials
- `answer/`: estimates, verdict, wording, budget, remedy · `forecast/`: the expected cost
- `judge/`: the verdict on a sweep that was run elsewhere · `checks/`: the checks of a document ·
  `plot_data`, `plot`: the picture · `kind`: the definition of the kind from all of these
"""
