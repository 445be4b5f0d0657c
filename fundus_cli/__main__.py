"""`python -m fundus_cli train ...`, for where the console scripts are not on the path."""

import sys

from fundus_cli.cli import main
from fundus_cli.programs import PROGRAMS

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in PROGRAMS:
        sys.exit(f"usage: python -m fundus_cli {{{','.join(PROGRAMS)}}} key=value ...")
    sys.exit(main(sys.argv.pop(1)))
