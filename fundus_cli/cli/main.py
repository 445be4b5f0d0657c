"""The door of every program: signals, then the command, then errors as lines and exit codes.

What takes time to import is imported once the signals are taken over, so that Ctrl-C in the first
moment ends in a line like any other.
"""

import contextlib
import os
import sys
import traceback
from functools import partial
from pathlib import Path

from fundus_cli.errors import FundusError, Interrupted
from fundus_cli.run.machine_errors import trouble
from fundus_cli.run.signals import StopRequest


def main(name: str) -> int:
    """Run a program on the command line's arguments; returns the exit code.

    Ends the process itself where a thread had to be left behind: should it come back to life while
    the interpreter ends, the exit code would be that of a crash.
    """
    _open_closed_streams()
    code = _run(name)
    if _left_behind():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)
    return code


def _run(name: str) -> int:
    with contextlib.suppress(AttributeError):
        # A terminal without UTF-8 gets names escaped instead of an error.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    stop = StopRequest(f"fundus-{name}").install()
    try:
        from fundus_cli.cli.command_line import run

        run(name, sys.argv[1:], stop)
    except BrokenPipeError:
        return 0
    except (FundusError, Interrupted) as error:
        return _told(name, error)
    except (OSError, MemoryError, RuntimeError) as error:
        if (known := trouble(error)) is None:
            raise
        return _told(name, known)
    return 0


train_main = partial(main, "train")
eval_main = partial(main, "eval")
report_main = partial(main, "report")
check_main = partial(main, "check")
predict_main = partial(main, "predict")
export_main = partial(main, "export")


def _open_closed_streams() -> None:
    """Streams that were closed (`>&-`) lead nowhere, so that no file takes their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115


def _left_behind() -> bool:
    # No thread can have been left by a module that was never imported.
    waiting = sys.modules.get("fundus_cli.runtime.timeouts")
    return waiting is not None and waiting.any_left_behind()


def _told(name: str, error: FundusError | Interrupted) -> int:
    """Print the line (with --debug the traceback too); returns the exit code."""
    with contextlib.suppress(OSError):
        if "--debug" in sys.argv:
            traceback.print_exc()
        print(f"fundus-{name}: {error}", file=sys.stderr)
    return error.exit_code


if os.name == "nt":  # pragma: no cover
    # Windows has no resource for the C locale; UTF-8 output needs asking for.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
