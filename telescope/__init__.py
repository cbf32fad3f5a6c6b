"""telescope: hyperparameters for a model too expensive to sweep.

The core, from a specification to an answer: `trials`, `statistics`, `parametrisation`, `data`,
`models`, `optim`, `train`, `studies`, `export`; `client` for the service; `errors`, `extras`,
`shapes` and `home`, which every package may use. It needs no web server, database or Ray;
`ARCHITECTURE.md` draws the whole structure.
"""

__version__ = "0.2.0"
