"""Processes that call one function for many jobs, for work that Python's threads cannot share.

A small image is hundreds of short array operations, between which threads wait for each other.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import IO, Any, Generic

from fundus_cli.errors import MachineError
from fundus_cli.runtime.timeouts import LEAVE_S, Crew, Job, Result, Timeout, in_order, num_at_once

MIN_JOBS = 1000
"""Fewer are done by threads before a process has imported what it needs."""
JOBS_PER_MESSAGE = 4
"""A process goes on with the next of them while the result of one is being taken."""
START = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from fundus_cli.runtime.processes import serve; serve()"
)
"""As multiprocessing begins a process, but without the caller's main module, which may have no
guard against being imported, and with nothing for the interpreter to wait for when it ends."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def spread(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    timeout: Timeout,
    what: Callable[[Job], str],
) -> Generator[Result, None, None]:
    """As `in_order`, by processes instead of threads where that is worth starting them.

    Function, jobs, results and exceptions are pickled then. Close it when leaving early.

    Raises:
        MachineError: one takes too long, or a process is gone; what(job) says what it was about.
    """
    if len(jobs) < MIN_JOBS or num_at_once() == 1:
        yield from in_order(function, jobs, timeout, what)
        return
    waiting: deque[tuple[Job, Future[Result]]] = deque()
    num, at_once = num_at_once(), JOBS_PER_MESSAGE
    with Workers(function, num, what) as workers, Crew(num, timeout) as crew:
        for start in range(0, len(jobs), at_once):
            some = [(job, Future[Result]()) for job in jobs[start : start + at_once]]
            crew.give(partial(workers.answer, some))
            waiting += some
            while len(waiting) > 2 * num * at_once:
                job, future = waiting.popleft()
                yield crew.result(future, what(job))
        for job, future in waiting:
            yield crew.result(future, what(job))


class Workers(Generic[Job, Result]):
    """Processes that call a function; a context manager.

    They have sessions of their own, so that Ctrl-C and whoever signals a whole group reach them
    through this process alone. Each ends when its standard input does, whatever it is doing; so
    none outlives this process, however that ends. Leaving kills them.
    """

    def __init__(
        self, function: Callable[[Job], Result], num_workers: int, what: Callable[[Job], str]
    ) -> None:
        self._function, self._num_workers, self._what = function, num_workers, what
        self._all: list[subprocess.Popen[bytes]] = []
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()

    def __enter__(self) -> "Workers[Job, Result]":
        try:
            for _ in range(self._num_workers):
                worker = subprocess.Popen(
                    [sys.executable, "-c", START, *sys.path],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=os.environ | ONE_THREAD,
                    start_new_session=True,
                )
                self._all.append(worker)
                with contextlib.suppress(OSError):
                    _send(worker, self._function)
                self._idle.put(worker)
        except BaseException:
            self._end()
            raise
        return self

    def answer(self, some: Sequence[tuple[Job, "Future[Result]"]]) -> None:
        """Have a process do some jobs and tell each one's future what came of it; by any thread.

        A job that was lost with its process, and those behind it, end in a MachineError.
        """
        worker = self._idle.get()
        assert worker.stdout is not None
        waiting = deque(some)
        try:
            _send(worker, [job for job, _ in some])
            while waiting:
                has_returned, result = pickle.load(worker.stdout)
                _, future = waiting.popleft()
                if has_returned:
                    future.set_result(result)
                else:
                    future.set_exception(result)
        except Exception as error:
            is_lost = isinstance(error, EOFError | OSError | pickle.UnpicklingError)
            told = self._loss(waiting[0][0], worker) if is_lost else error
            # Answers that are still to come would be taken for those of other jobs.
            worker.kill()
            for _, future in waiting:
                future.set_exception(told)
        finally:
            # One that is gone, too: whoever takes it next is told so instead of waiting.
            self._idle.put(worker)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _loss(self, job: Job, worker: "subprocess.Popen[bytes]") -> MachineError:
        return MachineError(
            f"{self._what(job)}: the process that did it {_end_of(worker)}; if memory is short, "
            "end other programs, then run the same command again"
        )

    def _end(self) -> None:
        for worker in self._all:
            worker.kill()
        for worker in self._all:
            # One that waits for a dead drive may not even be killed: it is left behind.
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(LEAVE_S)
                for stream in (worker.stdin, worker.stdout):
                    with contextlib.suppress(OSError):
                        stream.close()  # type: ignore[union-attr]


def _send(worker: "subprocess.Popen[bytes]", message: object) -> None:
    assert worker.stdin is not None
    worker.stdin.write(pickle.dumps(message))
    worker.stdin.flush()


def _end_of(worker: "subprocess.Popen[bytes]") -> str:
    try:
        code = worker.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        return "no longer answers"
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"


def serve() -> None:
    """What a process does: take the function, then the jobs of each message, one by one."""
    # Whatever prints lands beside the errors, not among the answers.
    answers, sent = os.fdopen(os.dup(1), "wb"), os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sent, messages), daemon=True).start()
    function = messages.get()
    while True:
        for job in messages.get():
            answer = _answer(function, job)
            try:
                answers.write(answer)
                answers.flush()
            except OSError:
                os._exit(0)


def _listen(stream: IO[bytes], messages: "queue.SimpleQueue[Any]") -> None:
    """Take what is sent; end the process as soon as nobody is left to send."""
    try:
        while True:
            messages.put(pickle.load(stream))
    except EOFError:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _answer(function: Callable[[Any], object], job: object) -> bytes:
    try:
        return pickle.dumps((True, function(job)))
    except Exception as error:
        error.add_note("".join(["In a worker process:\n", *traceback.format_exception(error)]))
        return pickle.dumps((False, error))
