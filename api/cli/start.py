"""The entry point of the command `telescope`.

It checks that the packages of the command line are installed, then runs `api.cli.main`.
"""

import sys

from telescope.errors import MissingPackage
from telescope.extras import require_extra


def main() -> int:
    """Run the command line, which exits with the status of the command.

    If a package is missing, prints how to install it and returns 2.
    """
    try:
        require_extra("service")
    except MissingPackage as error:
        print(error.message, file=sys.stderr)
        return error.exit_status
    from api.cli.main import app  # imported here: this import fails if a package is missing

    app(prog_name="telescope")
    return 0


if __name__ == "__main__":
    sys.exit(main())
