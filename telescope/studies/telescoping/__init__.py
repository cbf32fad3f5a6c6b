"""Hyperparameters for a model that is too large to sweep.

The telescoping study (`kind: telescope`) sweeps hyperparameters at a small width, narrows the
search at each doubling of the width, and extrapolates the optimum to the target width. A *ladder*
is this search for one optimizer. If a job compares architectures or data (*variants*), each variant
has its own ladder per optimizer. A ladder computes its next runs from its finished trials, by
replaying its schedule from the start; it does not wait for other ladders.

In this list, each package imports only earlier ones:

- `axes`, `reasons`, `evidence`, `late_evidence`, `report`: the types of scales, reasons and answers
- `question/`: the user's document
- `ladder/`: a ladder, and the statistical model of its losses
- `schedules/`: the rules `robust` and `paper`, which choose the next runs
- `fold/`: the replay of a schedule over finished trials
- `answer/`: the report, with estimates and verdict
- `forecast/`: the expected cost of a job
- `judge/`: the verdict on a sweep that was run elsewhere
- `checks/`: the checks of a document
- `plot_data`, `plot`: the picture of a report
- `kind`: the definition of the kind, from all of these
"""
