"""``python -m models`` in a checkout is ``fastconv models``."""

import sys

from fastconv.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["models", *sys.argv[1:]]))
