"""A library that takes long to import, imported while the program still does something else."""

import contextlib
import gc
import importlib
import sys
import threading
from collections.abc import Callable, Iterator

SWITCH_S = 5e-4
"""Threads that wait for the interpreter get it after so long; Python's own 5 ms are many times
what a decoder's calls take, and it has hundreds of them."""


@contextlib.contextmanager
def importing(name: str) -> Iterator[Callable[[], None]]:
    """A function that begins to import a module beside the block; leaving the block waits for it.

    Whatever is wrong before the function is called is told without the import. The block imports
    nothing then that the module imports too: modules that import each other may be seen half made
    by a second thread. A failed import is told by the import statement that asks for the module
    next.
    """
    thread = threading.Thread(target=_import, args=(name,), daemon=True)
    switch_s = sys.getswitchinterval()

    def begin() -> None:
        if thread.ident is None:
            sys.setswitchinterval(SWITCH_S)
            thread.start()

    try:
        yield begin
    finally:
        if thread.ident is not None:
            # A process that ends in the middle of an import may crash instead of saying why.
            thread.join()
            sys.setswitchinterval(switch_s)


def _import(name: str) -> None:
    # Thousands of new classes and functions, none of them garbage: looking through them again and
    # again is a tenth of the import.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    finally:
        if was_enabled:
            gc.enable()
