"""The answer: estimates, verdict, budget and remedy.

In reading order:

- `levels`: each width of a ladder · `transfer`: how well the optimum transfers · `importance`: which hyperparameters matter
- `late`: whether the parametrisation still holds at the end of the runs · `validation`: what runs at the target say
- `budget`: where the uncertainty comes from · `remedy`: what would resolve it · `verdict` · `wording`: reasons in words
- `comparison`: several ladders and variants side by side · `answer`: the report, of all these
"""
