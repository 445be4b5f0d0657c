"""Entry points of the console scripts: install signal handlers, run, turn errors into exit codes.

Slow imports happen after the signal handlers are installed, so that Ctrl-C during start-up prints
one line instead of a traceback.
"""

import contextlib
import os
import sys
import traceback
from functools import partial
from pathlib import Path

from fundus_cli.errors import FundusError, Interrupted, printable
from fundus_cli.run.machine_errors import trouble
from fundus_cli.run.signals import StopRequest


def main(name: str) -> int:
    """Run a program on the command line's arguments; returns the exit code.

    Exits with os._exit if a reader thread is still blocked: if it resumed during the interpreter's
    shutdown, the process would crash and lose its exit code.
    """
    _open_closed_streams()
    code = _run(name)
    if _any_thread_blocked():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)
    return code


def _run(name: str) -> int:
    with contextlib.suppress(AttributeError):
        # On a terminal without UTF-8, names are escaped instead of raising an error.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    stop = StopRequest(f"fundus-{name}").install()
    try:
        from fundus_cli.cli.command_line import run

        run(name, sys.argv[1:], stop)
    except BrokenPipeError:
        return 0
    except (FundusError, Interrupted) as error:
        return _told(name, error)
    except Exception as error:
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
    """Open closed standard streams (`>&-`) on the null device, so that no file takes their
    number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115


def _any_thread_blocked() -> bool:
    # A module that was never imported has no blocked threads.
    timeouts = sys.modules.get("fundus_cli.runtime.timeouts")
    return timeouts is not None and timeouts.any_blocked()


def _told(name: str, error: FundusError | Interrupted) -> int:
    """Print the line (with --debug the traceback too); returns the exit code."""
    with contextlib.suppress(OSError):
        if "--debug" in sys.argv:
            traceback.print_exc()
        print(f"fundus-{name}: {printable(str(error), keep=chr(10))}", file=sys.stderr)
    return error.exit_code


if os.name == "nt":  # pragma: no cover
    # Windows has no resource for the C locale; UTF-8 output needs asking for.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
