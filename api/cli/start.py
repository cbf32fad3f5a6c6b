"""Entry point of `telescope`: check that all packages are installed, then run `api.cli.main`."""

import sys

from telescope.errors import MissingPackage
from telescope.extras import require_extra


def main() -> int:
    """Run the command line; if packages are missing, print how to install them and return 2."""
    try:
        require_extra("service")
    except MissingPackage as error:
        print(error.message, file=sys.stderr)
        return error.exit_status
    from api.cli.main import app  # here: the import fails without the extra

    app(prog_name="telescope")
    return 0


if __name__ == "__main__":
    sys.exit(main())
