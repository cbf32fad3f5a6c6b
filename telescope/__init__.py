"""telescope: hyperparameters for a model too expensive to sweep.

The core leads from a specification to an answer: `trials`, `statistics`, `parametrisation`, `data`,
`models`, `optim`, `train`, `studies`, `export`. `client` sends requests to the service. Every
package may use `errors`, `extras`, `shapes` and `home`. This package needs no web server, database
or Ray; `ARCHITECTURE.md` draws the whole structure.
"""

__version__ = "0.2.0"
