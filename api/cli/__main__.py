"""`python -m api.cli` is the command `telescope`."""

import sys

from api.cli.start import main

if __name__ == "__main__":
    sys.exit(main())
