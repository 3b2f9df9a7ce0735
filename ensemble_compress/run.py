"""One compression: candidates are judged on rows that nobody saw, one is chosen, and it is made from all rows."""

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import joblib
import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from sklearn.utils import _safe_indexing, check_random_state
from threadpoolctl import threadpool_limits

from ensemble_compress import paths, sizes
from ensemble_compress.algorithms import Simplify
from ensemble_compress.calibration import as_data, indexable, open_teacher
from ensemble_compress.choice import Outlook, Verdict, choose
from ensemble_compress.clones import CloneError, Task, can_be_cloned, train_on
from ensemble_compress.data import Data
from ensemble_compress.errors import BudgetError, InputError
from ensemble_compress.folds import Round, Rounds, has_few_rows, make_rounds, split_off
from ensemble_compress.forest import Forest
from ensemble_compress.judge import Answers, Judge
from ensemble_compress.model import CompressedModel
from ensemble_compress.paths import Candidate, Key, Made, Stop, auto_path, list_path, stage_key
from ensemble_compress.report import PathPoint, Step, make_report
from ensemble_compress.verdicts import (
    Expectation,
    Hearing,
    expectation,
    hear,
    reference_score,
    verdicts_of,
    weights_of,
)

DEFAULT_TOLERANCE = 0.005
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
                    _parameters(step),
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
            raise _budget_error(budget, model, "the lossless form of the model")
        return model

    # -- with a choice ----------------------------------------------------------------------------------------

    def _chosen(self) -> CompressedModel:
        with _progress(self.options.verbose) as progress:
            progress.add_task("training the teacher again", total=None)
            rounds = self._rounds()
        # Thousands of fits of a few rows each: OpenMP's threads would wait for each other longer than they work.
        with threadpool_limits(1, user_api="openmp"):
            return self._choice_from(rounds)

    def _choice_from(self, rounds: Rounds) -> CompressedModel:
        if rounds.can_promise or self.tolerance is None:
            judged, candidates = self._walk(rounds)
        else:
            judged, candidates = {}, {}
        forests = {key: candidates[key].build() for key in judged}
        sizes_of = {key: sizes.c_bytes(forest) for key, forest in forests.items()} | {
            LOSSLESS: sizes.c_bytes(self.lossless)
        }
        verdicts = self._verdicts(judged, rounds)
        key, shortfall = choose(
            verdicts,
            sizes_of,
            LOSSLESS,
            self._allowed(verdicts[LOSSLESS].score),
            self.options.max_bytes,
            self.options.confidence,
        )
        model = self._model(key, candidates, judged, verdicts, sizes_of, rounds)
        if shortfall:
            raise _budget_error(self.options.max_bytes, model, shortfall)
        return model

    def _walk(self, rounds: Rounds) -> tuple[dict[Key, tuple[Hearing, ...]], dict[Key, Candidate]]:
        """The candidates of the teacher that were judged in every round."""
        n_jobs = joblib.cpu_count() if self.options.n_jobs is None else self.options.n_jobs
        with _progress(self.options.verbose) as progress:
            bar = progress.add_task("compressing", total=len(rounds.rounds) + 1)

            def judge(one: Round) -> dict[Key, Hearing]:
                found = self._judge_round(one)
                progress.advance(bar)
                return found

            by_round = Parallel(n_jobs=n_jobs, prefer="threads")(delayed(judge)(one) for one in rounds.rounds)
            judged = {key for key in by_round[0] if all(key in found for found in by_round)}
            if self.tolerance is not None and not rounds.has_own_leaves:
                judged = {key for key in judged if paths.keeps_no_leaves(key)}
            candidates = self._final_candidates(rounds.final, judged)
            progress.advance(bar)
        return {key: tuple(found[key] for found in by_round) for key in candidates}, candidates

    def _final_candidates(self, data: Data, judged: set[Key]) -> dict[Key, Candidate]:
        """The candidates made from all rows, of those keys that were judged."""
        wanted: dict[str, set[Key]] = {}
        for key in judged:
            wanted.setdefault(key.way, set()).add(key)
        candidates: dict[Key, Candidate] = {}

        def stop(way: str) -> bool:
            return wanted.get(way, set()) <= candidates.keys()

        for candidate in self._path(self.teacher, data, stop):
            if candidate.key in judged:
                candidate.build()
                candidates[candidate.key] = candidate
        return candidates

    def _rounds(self) -> Rounds:
        options, data = self.options, self.data
        assert data is not None
        task = Task(self.source.trainable, self.teacher, data, self.X, self.y, self.seed, options.n_jobs)
        if isinstance(options.validation, (tuple, list)):
            X_val, y_val = self.source.transform(options.validation[0]), options.validation[1]
            if data.y is not None and y_val is None:
                raise InputError("validation has no labels; expected (X_val, y_val)")
            return make_rounds(task, as_data(self.teacher, X_val, None if data.y is None else y_val, None))
        if options.validation is None:
            return make_rounds(task)
        if can_be_cloned(task) and not has_few_rows(data):
            return self._held_out_share(task)
        note = f"validation={options.validation} was not used: the teacher cannot be trained again without a share of the rows"
        rounds = make_rounds(task)
        return replace(rounds, notes=(*rounds.notes, note))

    def _held_out_share(self, task: Task) -> Rounds:
        """One round in which the teacher is trained again without the share of the rows that judges."""
        keep, hold = split_off(task, float(self.options.validation))
        try:
            again = train_on(task, keep)
        except CloneError:
            return make_rounds(task)
        X, y = _safe_indexing(self.X, keep), _safe_indexing(self.y, keep)
        part = Task(again.model, again.forest, task.data.take(keep), X, y, task.random_state, task.n_jobs)
        return make_rounds(part, task.data.take(hold))

    def _path(self, teacher: Forest, data: Data, stop: Stop) -> Iterator[Candidate]:
        if self.options.steps == "auto":
            return auto_path(teacher, data, self.seed, stop)
        return list_path(self.options.steps, teacher, data)

    def _judge_round(self, one: Round) -> dict[Key, Hearing]:
        """What one round says of each candidate."""
        heard = {}
        budget, expect = self.options.max_bytes, self._expectation([one])
        with_error = self.options.confidence is not None or self.judge.tells_error
        allowed = self._allowed(self.judge.score(one.reference, one.judge))
        outlook = Outlook(allowed if budget is None else None, budget)
        for candidate in self._path(one.teacher, one.fit, outlook.is_over):
            forest = candidate.build()
            answers = Answers.of(forest, one.judge.X)
            hearing = heard[candidate.key] = hear(self.judge, one, answers, with_error)
            drop, error = (hearing.drop, hearing.error) if expect is None else expect([answers])
            outlook.note(candidate.key, drop, error, 0 if budget is None else sizes.c_bytes(forest))
        return heard

    def _verdicts(self, hearings: dict[Key, tuple[Hearing, ...]], rounds: Rounds) -> dict[Key, Verdict]:
        found = verdicts_of(hearings, rounds.rounds, self._expectation(rounds.rounds))
        return found | {LOSSLESS: Verdict(0.0, reference_score(self.judge, rounds.rounds), 0.0)}

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
        judged: dict[Key, tuple[Hearing, ...]],
        verdicts: dict[Key, Verdict],
        sizes_of: dict[Key, int],
        rounds: Rounds,
    ) -> CompressedModel:
        lossless = Made(Simplify(), lambda: self.teacher, rounds.final)
        stages = candidates[key].stages if key in candidates else ((Simplify(), lossless),)
        forest = stages[-1][1]()
        steps = []
        for k, (algorithm, made) in enumerate(stages):
            after = made()
            stage = stage_key(key, len(stages) - 1 - k)
            score = verdicts[stage].score if stage in verdicts else None
            steps.append(
                Step(
                    type(algorithm).__name__,
                    _parameters(algorithm),
                    sizes.c_bytes(after),
                    after.n_leaves,
                    score,
                    made.seconds,
                )
            )
        path = tuple(
            PathPoint(sizes_of[k], verdicts[k].score, _finite(verdicts[k].error), k == key)
            for k in sorted(verdicts, key=lambda k: sizes_of[k])
            if np.isfinite(verdicts[k].score)
            and (k in (key, LOSSLESS) or (k.way, k.finish) == (key.way, key.finish))
        )
        rows, teacher_answers, student_answers = self._held_out_answers(key, judged, rounds)
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
            steps=tuple(steps),
            path=path,
            notes=(*self.source.notes, *rounds.notes),
        )
        return CompressedModel(forest, report)

    def _held_out_answers(
        self, key: Key, judged: dict[Key, tuple[Hearing, ...]], rounds: Rounds
    ) -> tuple[Data, NDArray[np.float64] | None, NDArray[np.float64] | None]:
        """(the judged rows, what the teachers said about them, what the students said), round after round."""
        parts = [one.judge for one in rounds.rounds]
        weight = None if all(part.weight is None for part in parts) else weights_of(rounds.rounds)
        rows = Data(
            np.concatenate([part.X for part in parts]),
            np.concatenate([part.y for part in parts]),
            weight,
        )
        teacher = np.concatenate([one.reference.values for one in rounds.rounds])
        if key not in judged:
            return rows, teacher, teacher
        return (
            rows,
            teacher,
            np.concatenate([hearing.answers.values for hearing in judged[key]]).astype(np.float64),
        )


def _parameters(algorithm: Any) -> str:
    text = repr(algorithm)
    return text[text.index("(") + 1 : -1]


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _budget_error(budget: int | None, nearest: CompressedModel, what: str) -> BudgetError:
    needed = sizes.c_bytes(nearest.forest)
    return BudgetError(
        f"no model fits max_bytes={budget:,}: {what} takes {needed:,} bytes; allow as many, or a larger tolerance",
        nearest,
        needed,
    )


def _progress(verbose: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not (verbose and console.is_terminal))
