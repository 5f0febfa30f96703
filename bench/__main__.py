"""``python -m bench`` in a checkout is ``fastconv bench``."""

import sys

from fastconv.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
