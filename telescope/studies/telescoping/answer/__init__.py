"""The report of a telescoping study, computed from its finished runs.

A *ladder* is the search of one optimizer over growing widths. In reading order:

- `levels`: the report on each width of a ladder, the drift of the optimum, and the cost
- `transfer`: how well the optimum of one width serves another width
- `importance`: how much each hyperparameter matters
- `late`: the test of the scaling rules at the end of the runs
- `validation`: the check of a ladder's learning rate by runs at the target width
- `budget`: the sources of uncertainty, the expected shift of the optimum, and the reason why a
  ladder stopped
- `remedy`: the runs that should resolve an unresolved ladder
- `verdict`: the rules of the verdict
- `wording`: the texts of reasons and advice
- `comparison`: ladders and variants side by side
- `answer`: the whole report
"""
