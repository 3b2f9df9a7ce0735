"""Ctrl-C while a model is compressed: the first one ends the search, the second one the call."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


class Interrupt:
    """Whether the caller has had enough; the threads that share one look at it between two pieces of work."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._has_come = False

    @property
    def has_come(self) -> bool:
        """Whether there was a KeyboardInterrupt."""
        return self._has_come

    @property
    def is_stopped(self) -> bool:
        """Whether no further work is wanted: after a KeyboardInterrupt, or an error in another thread."""
        return self._stop.is_set()

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Leave the block at the first KeyboardInterrupt, and let a second one pass."""
        try:
            yield
        except KeyboardInterrupt:
            with self._lock:
                is_second, self._has_come = self._has_come, True
            self._stop.set()
            if is_second:
                raise

    def over_threads(self, work: Callable[[int], None], n_calls: int, n_threads: int) -> None:
        """Call `work(0)`, `work(1)` and so on, several at a time; an interrupt of any of them ends all of them.

        Parameters
        ----------
        work : callable
            Looks at `is_stopped` between two pieces of its work, and returns early then.
        n_calls : int
            How often it is called.
        n_threads : int
            How many calls run at a time; one runs in the caller's thread.
        """

        def one(k: int) -> None:
            try:
                with self.caught():
                    if not self.is_stopped:
                        work(k)
            except BaseException:
                self._stop.set()
                raise

        if min(n_threads, n_calls) <= 1:
            for k in range(n_calls):
                one(k)
            return
        with ThreadPoolExecutor(n_threads) as pool:
            calls = [pool.submit(one, k) for k in range(n_calls)]
            # The caller waits here, and it is the caller whom the signal of Ctrl-C reaches.
            with self.caught():
                for call in calls:
                    call.result()
