"""Forecasts of cost that kinds of study share: spans, pace, disk."""
