"""The coordinator: plans studies, hands trials to the executor, records events."""
