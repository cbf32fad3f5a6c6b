"""Hyperparameters for a model that is too large to sweep.

The telescoping study (`kind: telescope`) sweeps hyperparameters at a small width, searches smaller
ranges at greater widths, and extrapolates the optimum to the target width. A *ladder* is this
search for one optimizer. If a job compares architectures or data (*variants*), each variant has one
ladder per optimizer. A *schedule* is the rule that chooses the runs of a ladder. It reads the
finished trials of this ladder alone, so no ladder waits for another.

Each entry of this list imports only earlier entries:

- `axes`: the hyperparameters that can be swept, and their scales
- `reasons`, `evidence`, `late_evidence`, `report`: the types of a report
- `question/`: the document in which a user states a study
- `ladder/`: a ladder, and the statistical model of its losses
- `schedules/`: the schedules `robust` and `paper`
- `fold/`: the replay of a schedule over finished trials
- `answer/`: the report, with estimates and verdict
- `forecast/`: the expected cost of a job
- `judge/`: the verdict on a sweep that was run elsewhere
- `checks/`: the checks of a document
- `plot_data`, `plot`: the picture of a report
- `kind`: the definition of `kind: telescope`
"""
