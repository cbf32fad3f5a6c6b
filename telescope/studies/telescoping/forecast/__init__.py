"""The forecast of a telescoping study's cost.

In reading order: `rehearsal`, the schedule folded over bowls with a known optimum · `bill`, the
runs of a ladder, counted · `alternatives`, other choices and their cost · `clock`, seconds of
stages that workers share · `preview`, the forecast.
"""
