"""How many threads a prediction takes, that their number changes nothing, and that they outlive neither call nor fork."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import joblib
import numpy as np
import oracle
import pytest
import threadpoolctl
from strategies import hard_rows
from test_forest import two_trees

from ensemble_compress import threads
from ensemble_compress.engines import bit_layout, heap_layout, one_row, one_row_bits, packed_layout, walk
from ensemble_compress.errors import InputError, ParameterError
from ensemble_compress.threads import ROWS_PER_THREAD, count_threads, over_threads

MANY = 9 * ROWS_PER_THREAD + 17


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of eight processors without any limit."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with threadpoolctl.threadpool_limits(8, user_api="openmp"):
        yield


@pytest.mark.parametrize("n_jobs", [None, 1, 2, 3, 64, -1])
def test_the_number_of_threads_changes_no_bit(n_jobs: int | None) -> None:
    forest = two_trees(values=np.array([[0.1], [1e-7], [3e7]], np.float32))
    rows = hard_rows(forest, MANY)
    margins = forest.margin(rows, n_jobs)
    assert forest.margin(rows, 1).tobytes() == margins.tobytes()
    assert forest.margin(np.asfortranarray(rows), n_jobs).tobytes() == margins.tobytes()
    assert oracle.margins(forest, rows[::50]).tobytes() == margins[::50].tobytes()
    np.testing.assert_array_equal(oracle.leaves(forest, rows[::50]), forest.find_leaves(rows, n_jobs)[::50])


@pytest.mark.parametrize(
    ("n_jobs", "limit", "expected"),
    [
        *((None, None, 8), (None, "3", 3), (None, "99", 8), (None, "0", 8), (None, "4,2", 4), (None, "", 8)),
        *((1, None, 1), (2, "1", 1), (2, "5", 2), (12, None, 8), (np.int64(3), None, 3)),
        *((-1, None, 8), (-2, None, 7), (-1, "3", 3), (-2, "3", 2), (-99, None, 1)),
    ],
)
def test_n_jobs_is_a_bound_within_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, n_jobs: int | None, limit: str | None, expected: int
) -> None:
    if limit is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert count_threads(10**9, n_jobs) == expected


@pytest.mark.parametrize("n_jobs", [0, 1.5, "2"])
@pytest.mark.parametrize("n_rows", [1, MANY])
def test_a_number_of_jobs_that_is_none_is_refused(n_jobs: int, n_rows: int) -> None:
    with pytest.raises(ParameterError, match=r"n_jobs is .*; expected None or a whole number but 0"):
        two_trees().margin(np.zeros((n_rows, 2)), n_jobs)


def test_few_rows_get_one_thread() -> None:
    assert count_threads(2 * ROWS_PER_THREAD - 1, 8) == 1
    assert count_threads(2 * ROWS_PER_THREAD, 8) == 2
    assert count_threads(0, 8) == 1


def test_few_rows_ask_nobody_for_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise AssertionError

    monkeypatch.setattr(threads, "count_processors", refuse)
    assert two_trees().margin(np.zeros((ROWS_PER_THREAD, 2))).shape == (ROWS_PER_THREAD, 1)


# -- what the surroundings grant ---------------------------------------------------------------------------------


@pytest.mark.parametrize("user_api", [None, "openmp"])
def test_threadpoolctl_sets_the_limit_and_sets_it_back(user_api: str | None) -> None:
    with threadpoolctl.threadpool_limits(3, user_api=user_api):
        assert [count_threads(10**9, n_jobs) for n_jobs in (None, 5, 2, -1)] == [3, 3, 2, 3]
        with threadpoolctl.threadpool_limits(1, user_api=user_api):
            assert [count_threads(10**9, n_jobs) for n_jobs in (None, 5, -1)] == [1, 1, 1]
    assert count_threads(10**9) == 8
    ours = [
        pool for pool in threadpoolctl.threadpool_info() if pool.get("internal_api") == "ensemble_compress"
    ]
    assert [pool["num_threads"] for pool in ours] == [8]


def test_limits_on_blas_are_no_limits_on_predictions() -> None:
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        assert count_threads(10**9) == 8


def test_a_pool_that_another_library_has_made_small_bounds_no_number_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "_pools", lambda: [SimpleNamespace(num_threads=1)])
    assert [count_threads(10**9, n_jobs) for n_jobs in (None, 5, -1)] == [1, 5, 8]


@pytest.mark.parametrize("n_jobs", [None, 5, -1])
def test_a_thread_of_joblib_takes_no_threads_of_its_own(n_jobs: int | None) -> None:
    found = joblib.Parallel(n_jobs=2, backend="threading")(
        joblib.delayed(count_threads)(10**9, n_jobs) for _ in range(4)
    )
    assert found == [1] * 4
    assert count_threads(10**9) == 8


def test_a_thread_of_the_user_s_own_is_none_of_joblib_s() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(threads._is_thread_of_joblib).result()
    found = joblib.Parallel(n_jobs=2, backend="threading")(
        joblib.delayed(threads._is_thread_of_joblib)() for _ in range(2)
    )
    assert found == [True, True]


GRANTED = """
import multiprocessing
import os
import sys
import joblib
from ensemble_compress.threads import count_threads, count_processors

ASKED = [None, 5, 2, -1]

def grant(n_jobs):
    joblib.cpu_count = lambda: 8
    return count_threads(10**9, n_jobs)

def main():
    with joblib.parallel_config("loky", inner_max_num_threads=3):
        print(joblib.Parallel(n_jobs=2)(joblib.delayed(grant)(n_jobs) for n_jobs in ASKED))
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(pool.map(grant, ASKED))
    print(grant(None))

if __name__ == "__main__":
    main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="fork")
def test_processes_of_joblib_take_what_they_are_granted_and_those_of_multiprocessing_what_they_ask_for(
    tmp_path: Path,
) -> None:
    path = tmp_path / "granted.py"
    path.write_text(GRANTED)
    assert run([str(path)]) == "[3, 3, 2, 3]\n[1, 5, 2, 8]\n[1, 5, 2, 8]\n8\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity")
def test_no_more_threads_than_the_process_has_processors() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {next(iter(os.sched_getaffinity(0)))})\n"
        "from ensemble_compress.threads import count_threads\n"
        "print(count_threads(10**9), count_threads(10**9, 4), count_threads(10**9, -1))"
    )
    assert run(["-c", code]) == "1 1 1\n"


FORK = """
import os
import threading
import joblib
import numpy as np
from test_forest import two_trees

joblib.cpu_count = lambda: 4
forest, X = two_trees(), np.random.default_rng(0).normal(size=(50_000, 2))
expected = forest.margin(X)
assert threading.active_count() == 1
child = os.fork()
if child == 0:
    os._exit(0 if (forest.margin(X) == expected).all() else 1)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_fork_after_a_prediction_predicts_with_threads_too() -> None:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{FORK}"
    assert run(["-c", code]) == "0\n"


def run(arguments: list[str]) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-P", "-W", "error", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_threads_that_meet_a_forest_at_once_lay_its_trees_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    forest = two_trees()
    others, start, laid_out = threading.Event(), threading.Barrier(8), []

    def count(module: ModuleType) -> None:
        lay_out = module.lay_out

        def counted(*arguments: Any, **options: Any) -> Any:
            if module.__name__ in laid_out:
                others.set()
            laid_out.append(module.__name__)
            others.wait(0.2)  # for a second thread to come here, which it must not
            return lay_out(*arguments, **options)

        monkeypatch.setattr(module, "lay_out", counted)

    for module in (walk, packed_layout, heap_layout, bit_layout, one_row, one_row_bits):
        count(module)

    def ask(n_rows: int) -> bytes:
        start.wait(60)
        return forest.margin(np.zeros((n_rows, 2)))[:1].tobytes()

    with ThreadPoolExecutor(8) as pool:
        found = {*pool.map(ask, [1, 1, 1, 50, 50, 50, 3 * ROWS_PER_THREAD, 3 * ROWS_PER_THREAD])}
    assert found == {oracle.margins(forest, np.zeros((1, 2))).tobytes()}
    assert laid_out
    assert sorted(laid_out) == sorted(set(laid_out))


# -- the split ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [2 * ROWS_PER_THREAD, 20 * ROWS_PER_THREAD + 3, 2**31 + 12_345])
@pytest.mark.parametrize("n_jobs", [1, 2, 5])
def test_chunks_cover_all_rows_once_and_are_about_equal(n_jobs: int, n_rows: int) -> None:
    ranges: list[tuple[int, int]] = []
    over_threads(lambda start, stop: ranges.append((start, stop)), n_rows, n_jobs)
    ranges.sort()
    assert (ranges[0][0], ranges[-1][1]) == (0, n_rows)
    assert all(before[1] == after[0] for before, after in pairwise(ranges))
    sizes = [stop - start for start, stop in ranges]
    assert len(ranges) >= count_threads(n_rows, n_jobs)
    assert len(ranges) <= max(1, threads.CHUNKS_PER_THREAD * n_jobs)
    assert len({*sizes[:-1]}) <= 1
    assert sizes[-1] <= sizes[0]
    assert len(ranges) == 1 or sizes[0] % threads.CHUNK_STEP == 0


def test_a_thread_that_is_held_up_leaves_its_share_to_the_others() -> None:
    others_are_done, counts, lock = threading.Event(), {True: 0, False: 0}, threading.Lock()
    held_up: list[int] = []

    def work(start: int, stop: int) -> None:
        me = threading.get_ident()
        with lock:
            if not held_up:
                held_up.append(me)
            is_held = held_up[0] == me
            counts[is_held] += 1
            if counts[False] == threads.CHUNKS_PER_THREAD * 2 - 1:
                others_are_done.set()
        if is_held:
            assert others_are_done.wait(60)

    over_threads(work, 100 * ROWS_PER_THREAD, 2)
    assert counts == {True: 1, False: threads.CHUNKS_PER_THREAD * 2 - 1}


def test_an_error_in_a_thread_comes_through_and_ends_the_others() -> None:
    calls: list[int] = []

    def work(start: int, stop: int) -> None:
        calls.append(start)
        raise InputError(f"rows {start} to {stop}")

    with pytest.raises(InputError, match=r"rows [0-9]+ to"):
        over_threads(work, 100 * ROWS_PER_THREAD, 2)
    assert 1 <= len(calls) <= 2
    assert threading.active_count() == 1 or not any(
        thread.name == "ensemble_compress" for thread in threading.enumerate()
    )


def test_a_system_without_threads_to_spare_predicts_on_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    ranges: list[tuple[int, int]] = []
    over_threads(lambda start, stop: ranges.append((start, stop)), MANY, 4)
    assert sum(stop - start for start, stop in ranges) == MANY
