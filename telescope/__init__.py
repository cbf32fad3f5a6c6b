"""telescope: hyperparameters for a model too dear to sweep.

The core, from a specification to an answer: `trials`, `statistics`, `parametrisation`, `data`, `models`, `optim`, `train`, `studies`,
`export`; `client` for the service; and `errors`, `shapes`, `home`, which all may use. It runs where no web server, database or Ray is
installed; `ARCHITECTURE.md` draws the whole house.
"""

__version__ = "0.1.0"
