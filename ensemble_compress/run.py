"""One compression: candidates are judged on rows that nobody saw, one is chosen, and it is made from all rows."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from rich.progress import Progress
from sklearn.utils import _safe_indexing, check_random_state
from threadpoolctl import threadpool_limits

from ensemble_compress import sizes
from ensemble_compress.algorithms import Simplify
from ensemble_compress.bag_rounds import make_rounds_of_bags
from ensemble_compress.calibration import as_data, indexable, open_teacher
from ensemble_compress.choice import Verdict, choose, worth_making
from ensemble_compress.clones import CloneError, Task, can_be_cloned, nothing, train_on
from ensemble_compress.data import Data
from ensemble_compress.errors import InputError
from ensemble_compress.folds import (
    MOST_JUDGED,
    Round,
    Rounds,
    has_few_rows,
    make_rounds,
    split_off,
)
from ensemble_compress.forest import Forest
from ensemble_compress.hearings import Hearings, progress_bars
from ensemble_compress.interrupts import Interrupt
from ensemble_compress.judge import Judge
from ensemble_compress.model import CompressedModel
from ensemble_compress.outcome import budget_error, parameters_of, path_of, steps_of
from ensemble_compress.paths import Batch, Candidate, Key, Made, Stop, auto_path, list_path
from ensemble_compress.report import Step, make_report
from ensemble_compress.verdicts import (
    Expectation,
    Hearing,
    expectation,
    held_out_answers,
    reference_score,
)

DEFAULT_TOLERANCE = 0.005
HELD_OUT_SHARE, MANY_ROWS_TO_TRAIN = 0.2, 50_000
"""From so many rows on a teacher is trained again once, without so large a share of them, and not for folds."""

LOSSLESS = Key("lossless", 0, "")


class Run:
    """One compression, from the teacher to the model with its report."""

    def __init__(self, options: Any, model: Any) -> None:
        self.options = options
        self.source = open_teacher(model)
        self.model, self.teacher = self.source.model, self.source.forest
        seed = options.random_state
        self.seed = (
            int(check_random_state(seed).randint(2**31 - 1))
            if not isinstance(seed, (int, np.integer))
            else int(seed)
        )
        X = self.source.transform(options._X)
        self.data = None if X is None else as_data(self.teacher, X, options._y, options._weight)
        self.X, self.y = indexable(X, self.teacher.feature_names), indexable(options._y)
        self._drop_rows_that_do_not_count()
        has_goal = options.max_bytes is not None or not isinstance(options.steps, str)
        self.tolerance = (
            DEFAULT_TOLERANCE if options.tolerance is None and not has_goal else options.tolerance
        )
        self.judge = Judge(options.scoring, self.teacher.classes)
        self.lossless = Simplify()(self.teacher)
        self.interrupt = Interrupt()
        self._require_data()

    def result(self) -> CompressedModel:
        options = self.options
        if options.steps == "lossless":
            return self._unjudged(
                self.lossless, [Step("Simplify", "", sizes.c_bytes(self.lossless), self.lossless.n_leaves)]
            )
        if not isinstance(options.steps, str) and options.tolerance is None and options.max_bytes is None:
            return self._applied(options.steps)
        # Filters of warnings belong to the process: what the threads below do to them is undone here.
        with warnings.catch_warnings():
            return self._chosen()

    def _drop_rows_that_do_not_count(self) -> None:
        """Leave rows of weight zero out, so that no fold consists of them."""
        if self.data is None or self.data.weight is None or self.data.weight.all():
            return
        counts = np.flatnonzero(self.data.weight)
        self.data, self.X = self.data.take(counts), _safe_indexing(self.X, counts)
        self.y = None if self.y is None else _safe_indexing(self.y, counts)

    def _require_data(self) -> None:
        """Refuse steps whose needs aren't met, before any work is done."""
        steps = self.options.steps
        given = {"X"} if self.options._X is not None else set()
        given |= {"y"} if self.options._y is not None else set()
        if steps == "auto" and self.data is None:
            raise InputError("steps='auto' needs rows to judge by: pass X (and y), or steps='lossless'")
        has_goal = self.options.tolerance is not None or self.options.max_bytes is not None
        if has_goal and not isinstance(steps, str) and self.data is None:
            raise InputError("a tolerance or a budget needs rows to judge by: pass X (and y)")
        for step in () if isinstance(steps, str) else steps:
            missing = sorted(step.needs - given)
            if missing:
                raise InputError(
                    f"{type(step).__name__} needs {' and '.join(sorted(step.needs))}; {missing[0]} was not given"
                )

    # -- without a choice -------------------------------------------------------------------------------------

    def _applied(self, steps: Sequence[Any]) -> CompressedModel:
        forest, done, proven = self.teacher, [], []
        for step in steps:
            began = time.perf_counter()
            if hasattr(step, "certify"):
                forest, certificate = step.certify(forest)
                proven.append(f"{type(step).__name__}: {certificate}")
            else:
                forest = step(forest, self.data)
            done.append(
                Step(
                    type(step).__name__,
                    parameters_of(step),
                    sizes.c_bytes(forest),
                    forest.n_leaves,
                    None,
                    time.perf_counter() - began,
                )
            )
        return self._unjudged(forest, done, proven)

    def _unjudged(self, forest: Forest, steps: list[Step], proven: Sequence[str] = ()) -> CompressedModel:
        notes = (
            () if self.data is not None else ("no rows were given: scores and agreement were not measured",)
        )
        report = make_report(
            self.teacher,
            forest,
            self.data,
            model=self.model,
            steps=tuple(steps),
            reference="in-sample",
            max_bytes=self.options.max_bytes,
            target=self.options.target,
            notes=(*self.source.notes, *notes, *proven),
        )
        budget = self.options.max_bytes
        model = CompressedModel(forest, report)
        if budget is not None and sizes.c_bytes(forest) > budget:
            raise budget_error(budget, model, "the lossless form of the model")
        return model

    # -- with a choice ----------------------------------------------------------------------------------------

    def _chosen(self) -> CompressedModel:
        hearings: Hearings | None = None
        with progress_bars(self.options.verbose) as bars, self.interrupt.caught():
            bar = bars.add_task("training the teacher again", total=None)
            hearings = self._hearings(self._rounds(lambda: bars.advance(bar)))
        if hearings is None:
            step = Step("Simplify", "", sizes.c_bytes(self.lossless), self.lossless.n_leaves)
            return self._unjudged(self.lossless, [step], ["interrupted: nothing was judged yet"])
        # Thousands of fits of a few rows each: OpenMP's threads would wait for each other longer than they work.
        with threadpool_limits(1, user_api="openmp"):
            return self._choice_from(hearings)

    def _hearings(self, rounds: Rounds) -> Hearings:
        """The rounds before they have heard anything."""
        reference = reference_score(self.judge, rounds.rounds)
        options, expect = self.options, self._expectation(rounds.rounds)
        return Hearings(
            self.judge,
            rounds,
            expect,
            reference,
            self._allowed(reference),
            options.max_bytes,
            options.confidence,
        )

    def _choice_from(self, hearings: Hearings) -> CompressedModel:
        rounds, allowed, budget = hearings.rounds, hearings.allowed, self.options.max_bytes
        candidates: dict[Key, Candidate] = {}
        if rounds.can_promise or self.tolerance is None:
            candidates = self._walk(hearings)
        if self.interrupt.has_come:
            note = f"interrupted: the best of {len(candidates)} models"
            rounds = replace(rounds, notes=(*rounds.notes, note))
        sizes_of = {key: sizes.c_bytes(candidate.build()) for key, candidate in candidates.items()}
        sizes_of[LOSSLESS] = sizes.c_bytes(self.lossless)
        verdicts = hearings.verdicts() | {LOSSLESS: Verdict(0.0, hearings.reference, 0.0)}
        made = {key: verdicts[key] for key in sizes_of}
        key, shortfall = choose(made, sizes_of, LOSSLESS, allowed, budget, self.options.confidence)
        model = self._model(key, candidates, hearings.heard, verdicts, sizes_of, rounds)
        if shortfall:
            raise budget_error(budget, model, shortfall)
        return model

    def _walk(self, hearings: Hearings) -> dict[Key, Candidate]:
        """The candidates of the teacher that may be taken, as far as they were judged in every round."""
        options, rounds = self.options, hearings.rounds
        with progress_bars(options.verbose) as bars:
            batches = [self._path(one.teacher, one.fit, hearings.outlook.is_over) for one in rounds.rounds]
            hearings.hear_all(batches, self.interrupt, options.n_jobs, bars)
            # Each of them holds tables as large as the model's own.
            batches.clear()
            wanted = set(hearings.heard)
            if hearings.allowed is not None and options.max_bytes is None and options.confidence is None:
                wanted = worth_making(hearings.verdicts(), hearings.allowed)
            return self._final_candidates(rounds.final, wanted, bars)

    def _final_candidates(self, data: Data, judged: set[Key], bars: Progress) -> dict[Key, Candidate]:
        """The candidates made from all rows, of those keys that were judged; after an interrupt those that were made by then."""
        wanted: dict[str, set[Key]] = {}
        for key in judged:
            wanted.setdefault(key.way, set()).add(key)
        candidates: dict[Key, Candidate] = {}
        bar = bars.add_task("models from all rows", total=len(judged))

        def stop(way: str) -> bool:
            return wanted.get(way, set()) <= candidates.keys()

        with self.interrupt.caught():
            for candidate in chain.from_iterable(self._path(self.teacher, data, stop) if judged else ()):
                if candidate.key in judged:
                    candidate.build()
                    candidates[candidate.key] = candidate
                    bars.advance(bar)
        return candidates

    def _rounds(self, tell: Callable[[], None] = nothing) -> Rounds:
        options, data = self.options, self.data
        assert data is not None
        task = Task(
            self.source.trainable, self.teacher, data, self.X, self.y, self.seed, options.n_jobs, tell
        )
        if isinstance(options.validation, (tuple, list)):
            X_val, y_val = self.source.transform(options.validation[0]), options.validation[1]
            if data.y is not None and y_val is None:
                raise InputError("validation has no labels; expected (X_val, y_val)")
            held_out = as_data(self.teacher, X_val, None if data.y is None else y_val, None)
            # A promise is one about the given teacher, so no other may judge.
            is_promise = options.confidence is not None and self.tolerance is not None
            return make_rounds(task, held_out, 0 if is_promise else None)
        if options.validation is None:
            rounds = make_rounds_of_bags(task) if options.steps == "auto" else None
            if rounds is None and data.n_rows > MANY_ROWS_TO_TRAIN and can_be_cloned(task):
                return self._held_out_share(task, min(HELD_OUT_SHARE, MOST_JUDGED / data.n_rows))
            return make_rounds(task) if rounds is None else rounds
        if can_be_cloned(task) and not has_few_rows(data):
            return self._held_out_share(task, float(options.validation))
        note = f"validation={options.validation} was not used: the teacher cannot be trained again without a share of the rows"
        rounds = make_rounds(task)
        return replace(rounds, notes=(*rounds.notes, note))

    def _held_out_share(self, task: Task, share: float) -> Rounds:
        """One round in which the teacher is trained again without the share of the rows that judges."""
        keep, hold = split_off(task, share)
        try:
            again = train_on(task, keep)
        except CloneError:
            return make_rounds(task)
        X, y = _safe_indexing(self.X, keep), _safe_indexing(self.y, keep)
        part = replace(task, model=again.model, forest=again.forest, data=task.data.take(keep), X=X, y=y)
        return make_rounds(part, task.data.take(hold))

    def _path(self, teacher: Forest, data: Data, stop: Stop) -> Iterator[Batch]:
        if self.options.steps == "auto":
            return auto_path(teacher, data, self.seed, stop)
        return list_path(self.options.steps, teacher, data)

    def _expectation(self, rounds: Sequence[Round]) -> Expectation | None:
        """What tells a student's expected loss from its answers; None where labels have to.

        A promise of probability rests on labels alone, and answers of the teacher as labels leave nothing to chance.
        """
        if self.options.confidence is not None or self.options._y is None:
            return None
        return expectation(self.judge, rounds)

    def _allowed(self, reference: float) -> float | None:
        """The loss that is allowed where the teacher scores `reference`, in units of the score."""
        if self.tolerance is None or not self.options.relative:
            return self.tolerance
        return self.tolerance * abs(reference)

    def _model(
        self,
        key: Key,
        candidates: dict[Key, Candidate],
        heard: dict[Key, tuple[Hearing, ...]],
        verdicts: dict[Key, Verdict],
        sizes_of: dict[Key, int],
        rounds: Rounds,
    ) -> CompressedModel:
        lossless = Made(Simplify(), lambda: self.teacher, rounds.final)
        stages = candidates[key].stages if key in candidates else ((Simplify(), lossless),)
        forest = stages[-1][1]()
        rows, teacher_answers, student_answers = held_out_answers(rounds.rounds, heard.get(key))
        report = make_report(
            self.teacher,
            forest,
            rows.with_teacher(teacher_answers),
            model=self.model,
            student_answers=student_answers,
            rows=self.X,
            measure_speed=True,
            scoring=self.judge.name,
            score=(verdicts[LOSSLESS].score, verdicts[key].score),
            reference=rounds.reference,
            tolerance=self._allowed(verdicts[LOSSLESS].score),
            max_bytes=self.options.max_bytes,
            target=self.options.target,
            steps=steps_of(key, stages, verdicts),
            path=path_of(key, sizes_of, verdicts, LOSSLESS),
            notes=(*self.source.notes, *rounds.notes),
        )
        return CompressedModel(forest, report)
