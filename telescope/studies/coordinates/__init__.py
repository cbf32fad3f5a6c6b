"""The coordinate check: do updates keep their size as width grows?

- `slopes`: how changes grow with width · `causes`: the rules that do not fit
- `reasons`: why a check comes out as it does · `wording`: in words
- `check`: which runs, and what they say · `plot`
"""
