"""All rounds heard side by side, batch after batch, with a progress bar and as far as nobody interrupts them."""

from collections.abc import Iterator, Sequence

import joblib
from rich.console import Console
from rich.progress import Progress

from ensemble_compress import paths, sizes
from ensemble_compress.choice import Outlook, Verdict, smoothed
from ensemble_compress.folds import Rounds
from ensemble_compress.interrupts import Interrupt
from ensemble_compress.judge import Judge
from ensemble_compress.paths import Batch, Candidate, Key
from ensemble_compress.verdicts import Expectation, Hearing, hear, shortfall_of, verdict_of

HOPELESS = 4.0
"""A candidate that surely lost so many times what is allowed needs no better estimate."""

FEWEST_FOR_THREADS = 20_000
"""With fewer rows threads wait for Python's lock longer than they work."""


class Hearings:
    """What the rounds have said of the candidates so far.

    Parameters
    ----------
    judge : Judge
        The scorer.
    rounds : Rounds
        Who judges.
    expect : callable, optional
        What `expectation` returned for them.
    reference : float
        The teacher's score.
    allowed : float, optional
        The loss that is allowed; None where there is a budget alone.
    max_bytes : int, optional
        The budget.
    confidence : float, optional
        As in `Compressor`.

    Attributes
    ----------
    rounds, reference, allowed
        As given.
    heard : dict
        What each round said, by key, of the candidates that all of them have heard.
    outlook : Outlook
        Tells which candidates need not be made.
    """

    def __init__(
        self,
        judge: Judge,
        rounds: Rounds,
        expect: Expectation | None,
        reference: float,
        allowed: float | None,
        max_bytes: int | None,
        confidence: float | None,
    ) -> None:
        self.rounds, self.reference, self.allowed = rounds, reference, allowed
        self._judge, self._expect, self._max_bytes = judge, expect, max_bytes
        self._with_error = confidence is not None or judge.tells_error
        # With a budget the best may lose any amount.
        self._hopeless = float("inf") if allowed is None or max_bytes is not None else HOPELESS * allowed
        self._own_leaves_count = allowed is None or rounds.has_own_leaves
        self._shortfalls = [shortfall_of(judge, one) for one in rounds.rounds]
        largest = min(paths.largest_grown(one.teacher, one.fit) for one in rounds.rounds)
        self.outlook = Outlook(allowed if max_bytes is None else None, max_bytes, largest, confidence)
        self.heard: dict[Key, tuple[Hearing, ...]] = {}
        self._verdicts: dict[Key, Verdict] = {}

    def verdicts(self) -> dict[Key, Verdict]:
        """The smoothed verdict on each candidate."""
        return smoothed(self._verdicts)

    def hear_all(
        self, batches: Sequence[Iterator[Batch]], interrupt: Interrupt, n_jobs: int | None, bars: Progress
    ) -> None:
        """Hear every round on its next batch, put together what they said, and so on.

        The rounds go side by side, so that what all of them have said tells whether a further size is wanted.

        Parameters
        ----------
        batches : sequence of iterator
            The candidates of each round.
        interrupt : Interrupt
            Ends it.
        n_jobs : int, optional
            Rounds at a time, as in joblib; None is as many as there are processors, or one where there are few rows.
        bars : Progress
            Shows how far it has come.
        """
        if n_jobs is None:
            n_jobs = -1 if self.rounds.final.n_rows >= FEWEST_FOR_THREADS else 1
        n_threads = joblib.effective_n_jobs(n_jobs)
        bar = bars.add_task("judging", total=None)
        waiting: dict[Key, dict[int, Hearing]] = {}
        going = dict(enumerate(batches))
        # A signal comes to this thread, whatever it is doing.
        with interrupt.caught():
            while going and not interrupt.is_stopped:
                said = self._next(going, interrupt, n_threads)
                for number, of_round in said.items():
                    for key, hearing in of_round:
                        by_round = waiting.setdefault(key, {})
                        by_round[number] = hearing
                        if len(by_round) == len(batches):
                            self._note(key, tuple(by_round[k] for k in range(len(batches))))
                            bars.update(bar, description=f"judging: {key.way} {key.size or ''}", advance=1)
                going = {number: going[number] for number in said}

    def _next(
        self, going: dict[int, Iterator[Batch]], interrupt: Interrupt, n_threads: int
    ) -> dict[int, list[tuple[Key, Hearing]]]:
        """What each round says of its next batch, by the numbers of those rounds that had another one."""
        said: dict[int, list[tuple[Key, Hearing]]] = {}
        numbers = list(going)

        def work(k: int) -> None:
            batch = next(going[numbers[k]], None)
            if batch is None:
                return
            found = said[numbers[k]] = []
            for candidate in batch:
                hearing = None if interrupt.is_stopped else self._hear(numbers[k], candidate)
                if hearing is not None:
                    found.append((candidate.key, hearing))

        interrupt.over_threads(work, len(numbers), n_threads)
        return said

    def _hear(self, number: int, candidate: Candidate) -> Hearing | None:
        """What a round says; None where it is not asked, or knows too few rows."""
        one = self.rounds.rounds[number]
        if not (
            (self._own_leaves_count or paths.keeps_no_leaves(candidate.key))
            and (one.bags is None or paths.is_judged_by_bags(candidate))
            and not self.outlook.is_hopeless(candidate.key)
        ):
            return None
        forest = candidate.build()
        answers = one.answers(forest, candidate.trees)
        if 2 * len(one.known(answers)) < one.judge.n_rows:
            return None
        missing = self._shortfalls[number] if candidate.trees is None else 0.0
        n_bytes = 0 if self._max_bytes is None else sizes.c_bytes(forest)
        return hear(self._judge, one, answers, self._with_error, missing, n_bytes)

    def _note(self, key: Key, heard: tuple[Hearing, ...]) -> None:
        verdict = verdict_of(heard, self.rounds.rounds, self._expect, self._hopeless)
        self.heard[key], self._verdicts[key] = heard, verdict
        self.outlook.note(key, verdict.drop, verdict.error, min(one.n_bytes for one in heard))


def progress_bars(verbose: bool) -> Progress:
    """Bars on standard error, if it is a terminal.

    Parameters
    ----------
    verbose : bool
        Whether to show them at all.
    """
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not (verbose and console.is_terminal))
