"""`python -m api.cli` is the command `telescope`."""

from api.cli.main import app

if __name__ == "__main__":
    app(prog_name="telescope")
