"""Settings of every test: Hypothesis draws the same examples each time and has no deadline, for kernels compile."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "fixed", deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
# For the runs where Python or a bounds check stands in for compiled code.
settings.register_profile("slow-engine", settings.get_profile("fixed"), max_examples=25)
settings.load_profile("fixed")


@pytest.fixture(scope="session", autouse=True)
def kernels(request: pytest.FixtureRequest) -> None:
    """Where processes run all tests, they share the work to compile the kernels, instead of each compiling the same ones."""
    worker, n_workers = (
        os.environ.get("PYTEST_XDIST_WORKER", "gw0"),
        os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"),
    )
    if n_workers == "1" or len(request.session.items) < 1000:
        return
    from ensemble_compress import cold_start

    # Forests that are drawn have this kind, too.
    parts = cold_start.parts((*cold_start.KINDS, ("float64", "float32")))
    first = len(parts) * int(worker.removeprefix("gw")) // int(n_workers)
    for compile_part in parts[first:] + parts[:first]:
        compile_part()


@pytest.fixture(scope="session", autouse=True)
def options_that_ship() -> Iterator[tuple[str, ...]]:
    """The compiler's options for shared libraries. Tests compile with `-O0`, in an eighth of the time, unless they want these."""
    from ensemble_compress.writers import shared_library

    ship = shared_library.OPTIONS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_library, "OPTIONS", ("-O0", *ship[1:]))
        yield ship


@pytest.fixture
def as_it_ships(options_that_ship: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile shared libraries as users do."""
    from ensemble_compress.writers import shared_library

    monkeypatch.setattr(shared_library, "OPTIONS", options_that_ship)
