"""``python -m models``: see :mod:`models.cli`."""

from models.interrupts import end_while_loading

if __name__ == "__main__":
    end_while_loading()
    from models.cli import app

    app(prog_name="python -m models")
