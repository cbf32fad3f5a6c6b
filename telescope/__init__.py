"""telescope: hyperparameters for a model too dear to sweep.

The core. It runs where no web server, database or Ray is installed; `ARCHITECTURE.md` draws the whole house.
"""

__version__ = "0.1.0"
