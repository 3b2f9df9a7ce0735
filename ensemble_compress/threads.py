"""How many threads some rows are worth, and the work of a prediction split over them.

The caller is one of the threads, the others live as long as the call: nothing is left behind that a fork could break.
Rows are handed out in chunks, to whoever is free, so that a thread that the system slows down keeps nobody waiting.
"""

import math
import multiprocessing
import os
import threading
from collections.abc import Callable
from functools import cache
from numbers import Integral
from typing import Any

import threadpoolctl

from ensemble_compress.errors import ParameterError

ROWS_PER_THREAD = 2048
"""Fewer rows than this are not worth another thread."""

CHUNKS_PER_THREAD = 4
CHUNK_STEP = 64
"""Chunks are of a whole number of the engines' smallest blocks."""


class PredictionThreads(threadpoolctl.LibController):  # type: ignore[misc]
    """Our threads as one of the pools that `threadpoolctl.threadpool_limits` sets, beside those of OpenMP and BLAS.

    It goes by the shared library that is loaded wherever there are kernels.
    """

    user_api = "openmp"
    internal_api = "ensemble_compress"
    filename_prefixes = ("libllvmlite", "llvmlite")
    limit: int | None = None

    def get_num_threads(self) -> int:
        """The most threads that a prediction takes."""
        return PredictionThreads.limit or count_processors()

    def set_num_threads(self, num_threads: int) -> None:
        """Set it.

        Parameters
        ----------
        num_threads : int
            The most threads.
        """
        PredictionThreads.limit = max(1, num_threads)

    def get_version(self) -> None:
        """No version."""


threadpoolctl.register(PredictionThreads)


def count_threads(n_rows: int, n_jobs: int | None = None) -> int:
    """How many threads `n_rows` rows are worth; never more than the surroundings grant.

    They grant the processors that the process may use, by its affinity and quota, at most OMP_NUM_THREADS, at most what
    the limits of threadpoolctl say, and one inside a thread of joblib, whose siblings have the other processors. A positive
    `n_jobs` is a bound of the caller's own; a negative one counts from the end of what is granted, as in joblib: -1 is all.
    None is -1 but minds what only hints at a limit, too: the OpenMP pools of other libraries, and one thread in a process of
    multiprocessing without OMP_NUM_THREADS.
    """
    if n_jobs is not None and (not isinstance(n_jobs, Integral) or n_jobs == 0):
        raise ParameterError(f"n_jobs is {n_jobs!r}; expected None or a whole number but 0")
    most = n_rows // ROWS_PER_THREAD
    if most < 2 or n_jobs == 1:
        return 1
    granted = min([count_processors(), *_limits(is_asked=n_jobs is not None)])
    wanted = granted if n_jobs is None else n_jobs if n_jobs > 0 else max(1, granted + 1 + n_jobs)
    return max(1, min(wanted, granted, most))


def count_processors() -> int:
    """Processors that this process may use, by its affinity and the quota of its container."""
    import joblib  # late: it takes a tenth of a second, and few rows need no thread

    return max(1, int(joblib.cpu_count()))


def _limits(is_asked: bool) -> list[int]:
    """What the surroundings grant, each as a number of threads; `is_asked` says whether the caller names a number."""
    # Other libraries' pools hint at what there is to take; a number that the caller names is bounded by limits that are ours.
    if is_asked:
        limits = [PredictionThreads.limit or count_processors()]
    else:
        limits = [found.num_threads for found in _pools()]
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if first.isdigit() and int(first) > 0:
        limits.append(int(first))
    elif multiprocessing.parent_process() is not None and not is_asked:
        limits.append(1)
    if _is_thread_of_joblib():
        limits.append(1)
    return limits


@cache
def _pools() -> list[Any]:
    """Controllers of the OpenMP pools that are loaded, and of our own."""
    return list(threadpoolctl.ThreadpoolController().select(user_api="openmp").lib_controllers)


def _is_thread_of_joblib() -> bool:
    """Whether joblib runs this in a thread of its own. A process of its own it tells by OMP_NUM_THREADS."""
    if threading.current_thread() is threading.main_thread():
        return False
    from joblib.parallel import get_active_backend

    return bool(getattr(get_active_backend()[0], "nesting_level", 0))


def over_threads(work: Callable[[int, int], None], n_rows: int, n_jobs: int | None) -> None:
    """Call `work(start, stop)` on ranges of rows that cover all, over several threads; the first error comes through."""
    n_threads = count_threads(n_rows, n_jobs)
    if n_threads == 1:
        work(0, n_rows)
        return
    size = _chunk_size(n_rows, n_threads)
    starts, lock = iter(range(0, n_rows, size)), threading.Lock()
    errors: list[BaseException] = []

    def run() -> None:
        while not errors:
            with lock:
                start = next(starts, None)
            if start is None:
                return
            try:
                work(start, min(start + size, n_rows))
            except BaseException as error:  # noqa: BLE001 - raised below, an interrupt too
                errors.append(error)

    helpers = _start(run, n_threads - 1)
    run()
    for helper in helpers:
        helper.join()
    if errors:
        raise errors[0]


def _chunk_size(n_rows: int, n_threads: int) -> int:
    """Rows of a chunk: some chunks a thread, none smaller than is worth a thread."""
    n_chunks = max(n_threads, min(CHUNKS_PER_THREAD * n_threads, n_rows // ROWS_PER_THREAD))
    n_chunks -= n_chunks % n_threads
    return math.ceil(math.ceil(n_rows / n_chunks) / CHUNK_STEP) * CHUNK_STEP


def _start(run: Callable[[], None], n_helpers: int) -> list[threading.Thread]:
    """Threads that run `run`: as many as the system lets us have, for the caller can do it alone."""
    helpers: list[threading.Thread] = []
    for _ in range(n_helpers):
        helper = threading.Thread(target=run, name="ensemble_compress", daemon=True)
        try:
            helper.start()
        except RuntimeError:
            break
        helpers.append(helper)
    return helpers
