"""`python -m fundus_cli train ...`, for where the console scripts are not on the path."""

import sys

from fundus_cli.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv.pop(1) if len(sys.argv) > 1 else "?"))
