"""The answer: estimates, verdict, error budget and remedy.

In reading order:

- `levels`: each width of a ladder · `transfer`: the transfer of the optimum from width to width ·
  `importance`: the importance of each hyperparameter
- `late`: the coordinate check at the end of the runs · `validation`: the runs at the target
- `budget`: the error budget and the end of the climb · `remedy`: the runs that would resolve a
  ladder · `verdict`: the rules of the verdict · `wording`: the texts of reasons
- `comparison`: ladders and variants side by side · `answer`: the report
"""
