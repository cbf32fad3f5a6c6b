"""telescope finds hyperparameters for training a model that is too expensive to sweep.

The packages `trials`, `statistics`, `parametrisation`, `data`, `models`, `optim`, `train`,
`studies` and `export` are the core: they plan training runs, train models, analyse the runs and
export the results. The core works without a web server, a database or Ray. The package `client`
sends requests to telescope's HTTP service. All packages may use the modules `errors`, `extras`,
`shapes` and `home`. `ARCHITECTURE.md` shows the structure of the whole project.
"""

__version__ = "0.2.0"
