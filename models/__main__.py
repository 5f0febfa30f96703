"""``python -m models``: see :mod:`models.cli`."""

from models.cli import app

if __name__ == "__main__":
    app(prog_name="python -m models")
