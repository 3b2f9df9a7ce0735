"""All rounds heard, several at a time, with a progress bar and as far as nobody interrupts them."""

from collections.abc import Callable, Iterator, Sequence

import joblib
from rich.console import Console
from rich.progress import Progress

from ensemble_compress.folds import Round
from ensemble_compress.interrupts import Interrupt
from ensemble_compress.paths import Key
from ensemble_compress.verdicts import Hearing


def hear_rounds(
    judge: Callable[[Round], Iterator[tuple[Key, Hearing]]],
    rounds: Sequence[Round],
    interrupt: Interrupt,
    n_jobs: int | None,
    bars: Progress,
) -> tuple[list[int], dict[Key, tuple[Hearing, ...]]]:
    """(the rounds that count, what they said of each candidate that all of those judged).

    All rounds count; after an interrupt those that were done, or if none was, those that had begun.

    Parameters
    ----------
    judge : callable
        Yields what a round says, candidate after candidate.
    rounds : sequence of Round
        The rounds.
    interrupt : Interrupt
        Ends them.
    n_jobs : int, optional
        Rounds at a time, as in joblib; None is as many as there are processors.
    bars : Progress
        Shows how far each round has come.
    """
    heard = [dict[Key, Hearing]() for _ in rounds]
    is_done = [False] * len(rounds)

    def work(k: int) -> None:
        name = f"round {k + 1} of {len(rounds)}"
        bar = bars.add_task(name, total=None)
        for key, hearing in judge(rounds[k]):
            heard[k][key] = hearing
            bars.update(bar, description=f"{name}: {key.way} {key.size or ''}", advance=1)
            if interrupt.is_stopped:
                return
        bars.update(bar, total=len(heard[k]))
        is_done[k] = True

    interrupt.over_threads(work, len(rounds), joblib.effective_n_jobs(-1 if n_jobs is None else n_jobs))
    counting = [k for k, done in enumerate(is_done) if done] or [k for k, found in enumerate(heard) if found]
    known = [key for key in heard[counting[0]] if all(key in heard[k] for k in counting)] if counting else []
    return counting, {key: tuple(heard[k][key] for k in counting) for key in known}


def progress_bars(verbose: bool) -> Progress:
    """Bars on standard error, if it is a terminal.

    Parameters
    ----------
    verbose : bool
        Whether to show them at all.
    """
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not (verbose and console.is_terminal))
