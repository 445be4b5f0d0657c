"""Worker processes that call one function for many jobs, where threads would block each other.

Reading a small image takes hundreds of short array operations, for which threads compete for the
interpreter lock.
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
from fundus_cli.runtime.timeouts import (
    LEAVE_S,
    Job,
    Result,
    Timeout,
    TimeoutPool,
    in_order,
    num_at_once,
)

MIN_JOBS = 1000
"""With fewer jobs, threads finish before a process has imported what it needs."""
JOBS_PER_MESSAGE = 4
"""Jobs sent per message, so that a worker stays busy while a result is received."""
START = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from fundus_cli.runtime.processes import serve; serve()"
)
"""Code that starts a worker. Unlike multiprocessing, it does not import the caller's main module,
which may lack an import guard, and leaves nothing for the interpreter to wait for at exit."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def spread(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    timeout: Timeout,
    what: Callable[[Job], str],
) -> Generator[Result, None, None]:
    """Like `in_order`, with processes instead of threads where starting them pays.

    Function, jobs, results and exceptions are then pickled. Close the iterator when leaving early.

    Raises:
        MachineError: a job takes too long, or a process has ended; what(job) names the job.
    """
    if len(jobs) < MIN_JOBS or num_at_once() == 1:
        yield from in_order(function, jobs, timeout, what)
        return
    waiting: deque[tuple[Job, Future[Result]]] = deque()
    num, at_once = num_at_once(), JOBS_PER_MESSAGE
    with Workers(function, num, what) as workers, TimeoutPool(num, timeout) as pool:
        for start in range(0, len(jobs), at_once):
            some = [(job, Future[Result]()) for job in jobs[start : start + at_once]]
            pool.give(partial(workers.answer, some))
            waiting += some
            while len(waiting) > 2 * num * at_once:
                job, future = waiting.popleft()
                yield pool.result(future, what(job))
        for job, future in waiting:
            yield pool.result(future, what(job))


class Workers(Generic[Job, Result]):
    """Processes that call a function; a context manager.

    They run in their own sessions, so that Ctrl-C and signals to a process group reach only this
    process. Each ends when its standard input closes, whatever it is doing, so none outlives this
    process, however that ends. Leaving the context kills them.
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
        """Let a process do some jobs and set their futures; may be called from any thread.

        A job that is lost with its process, and those after it, end in a MachineError.
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
            # Outstanding answers would be taken for those of other jobs.
            worker.kill()
            for _, future in waiting:
                future.set_exception(told)
        finally:
            # An ended worker too: the next caller gets an error instead of waiting.
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
            # A worker that waits for an unresponsive drive may not even be killable; it is
            # abandoned.
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
    """Main function of a worker: read the function, then run the jobs of each message in turn."""
    # Printed text goes to standard error, not among the answers.
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
    """Read messages; end the process as soon as the sender is gone."""
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
