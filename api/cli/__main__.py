"""The entry point of `python -m api.cli`, which runs the command `telescope`."""

import sys

from api.cli.start import main

if __name__ == "__main__":
    sys.exit(main())
