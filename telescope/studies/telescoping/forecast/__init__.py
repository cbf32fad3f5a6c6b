"""The forecast of a telescoping study's cost.

In reading order: `rehearsal`, the schedule folded over bowls whose optimum is known · `bill`, the runs of a ladder, counted ·
`alternatives`, other ways and what they cost · `clock`, seconds of stages that workers share · `preview`, the forecast.
"""
