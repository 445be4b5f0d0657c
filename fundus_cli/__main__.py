"""`python -m fundus_cli train ...`, for where the console scripts are not on the path."""

import sys

from fundus_cli.cli import eval_main, train_main

PROGRAMS = {"train": train_main, "eval": eval_main}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in PROGRAMS:
        sys.exit(f"usage: python -m fundus_cli {{{','.join(PROGRAMS)}}} key=value ...")
    sys.exit(PROGRAMS[sys.argv.pop(1)]())
