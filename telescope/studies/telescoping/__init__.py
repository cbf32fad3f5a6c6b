"""Which hyperparameters should a model train with that is too large to sweep?

The telescoping study (`kind: telescope`): sweep at a small width, narrow the search at each doubling, extrapolate to the target. A ladder
per optimizer, and per variant where a job compares architectures or texts; each ladder folds its schedule (`paper` or `robust`) over its
finished trials, and ladders do not wait for each other.

Parts:

- the model of the loss: `axes`, `bowl`, `pooled`, which is fitted to all levels at once · `ladder`, with points, stages and outcomes
- the schedules: `robust`, with `edges` and `blocks` · `paper`, with `windows` and `samplers` · `validation`, at the target
- the question and its fold: `question`, `study`, `variants`, `pairing`, `checks`
- the answer: `report`, its types · `answer`, with `levels`, `per_level`, `budget`, `importance`, `transfer`, `late`, `remedy`, `verdict` ·
  `comparison`, of ladders and variants
- the bill beforehand: `preview`, with `bill`, `rehearsal`, `alternatives`, `pace`
"""
