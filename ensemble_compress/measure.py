"""Numbers about models: scores, agreement, bytes, structure. Pure functions of arrays and forests.

Scores are scikit-learn's own metrics, called so that they never warn: where a metric has no value (one class only,
one row only), the answer is None.
"""

import os
import pickle
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress import sizes
from ensemble_compress.forest import Forest


def scores(
    answers: NDArray[Any],
    y: NDArray[Any],
    weight: NDArray[np.float64] | None = None,
    *,
    classes: Sequence[Any] | NDArray[Any] | None = None,
    codes: NDArray[np.intp] | None = None,
) -> dict[str, Any]:
    """Every score of the report, by scikit-learn's definitions.

    Parameters
    ----------
    answers : ndarray of shape (n_rows, n_classes) or (n_rows, n_outputs)
        Probabilities of a classifier, values of a regression model.
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        Class codes (positions in `classes`) or targets.
    weight : ndarray of shape (n_rows,), optional
        Weight of each row.
    classes : sequence of length n_classes, optional
        Labels of the classes; None for regression.
    codes : ndarray of shape (n_rows,), optional
        The class code that the model decides for; None takes the most probable one, the lower code among equals.

    Returns
    -------
    dict
        `accuracy`, `balanced_accuracy`, `precision`, `recall`, `f1` (means over the classes that occur), `roc_auc`, `log_loss`
        and `per_class`, a list of one dict a class; or `r2`, `rmse` and `mae`. None where a score has no value.

    Examples
    --------
    >>> import numpy as np
    >>> found = scores(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]), classes=["no", "yes"])
    >>> found["accuracy"], found["roc_auc"], round(found["log_loss"], 3)
    (1.0, 1.0, 0.164)
    """
    if weight is not None:
        counted = weight > 0  # a class whose rows all weigh nothing is a class without rows
        answers, y, weight = answers[counted], y[counted], weight[counted]
        codes = None if codes is None else codes[counted]
    if classes is None:
        return _regression_scores(answers, y, weight)
    codes = answers.argmax(axis=1) if codes is None else codes
    return _classification_scores(answers, np.asarray(y), codes, weight, classes)


def label_scores(
    forest: Forest, X: Any, y: NDArray[Any], weight: NDArray[np.float64] | None = None
) -> dict[str, Any]:
    """The scores of a forest on labelled rows.

    Parameters
    ----------
    forest : Forest
        The model.
    X : array-like of shape (n_rows, n_features)
        Rows.
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        Labels out of `forest.classes`, or targets.
    weight : ndarray of shape (n_rows,), optional
        Weight of each row.

    Returns
    -------
    dict
        As `scores` gives it.
    """
    margin = forest.margin(X)
    if forest.classes is None:
        return scores(forest.answers(margin), y, weight)
    code = {label: c for c, label in enumerate(forest.classes.tolist())}
    codes = np.array([code[label] for label in np.asarray(y).tolist()], np.intp)
    return scores(forest.answers(margin), codes, weight, classes=forest.classes, codes=forest.decide(margin))


def _regression_scores(answers: NDArray[Any], y: NDArray[Any], weight: Any) -> dict[str, Any]:
    from sklearn import metrics  # late: it takes a second, and a report that is only shown does without

    answers = answers.reshape(np.shape(y))
    return {
        "r2": float(metrics.r2_score(y, answers, sample_weight=weight)) if len(answers) > 1 else None,
        "rmse": float(metrics.root_mean_squared_error(y, answers, sample_weight=weight)),
        "mae": float(metrics.mean_absolute_error(y, answers, sample_weight=weight)),
    }


def _classification_scores(
    answers: NDArray[Any], y: NDArray[Any], codes: NDArray[np.intp], weight: Any, classes: Any
) -> dict[str, Any]:
    from sklearn import metrics

    present = np.unique(y)
    every = np.arange(len(classes))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        y, codes, labels=every, sample_weight=weight, zero_division=0.0
    )
    # Not balanced_accuracy_score, which warns where a label is predicted that occurs in no row.
    balanced = metrics.recall_score(
        y, codes, labels=present, average="macro", sample_weight=weight, zero_division=0.0
    )
    probabilities = _as_probabilities(answers)
    names = np.asarray(classes).tolist()
    seen = np.union1d(present, codes).astype(
        np.intp
    )  # the classes that scikit-learn's macro averages run over
    return {
        "accuracy": float(metrics.accuracy_score(y, codes, sample_weight=weight)),
        "balanced_accuracy": float(balanced),
        "precision": float(np.mean(precision[seen])),
        "recall": float(np.mean(recall[seen])),
        "f1": float(np.mean(f1[seen])),
        "roc_auc": _roc_auc(probabilities, y, weight, present),
        "log_loss": _log_loss(probabilities, y, weight, every),
        "per_class": [
            {
                "label": names[c],
                "rows": int((y == c).sum()),
                "precision": float(precision[c]),
                "recall": float(recall[c]),
                "f1": float(f1[c]),
            }
            for c in every
        ],
    }


def _as_probabilities(answers: NDArray[Any]) -> NDArray[np.float64]:
    """Answers within [0, 1] whose rows sum to one: the scores of a pruned or quantised average need not."""
    inside = np.clip(answers.astype(np.float64), 0.0, 1.0)
    total = inside.sum(axis=1, keepdims=True)
    return np.where(total > 0, inside / np.where(total > 0, total, 1.0), 1.0 / inside.shape[1])


def _roc_auc(probabilities: NDArray[Any], y: NDArray[Any], weight: Any, present: Any) -> float | None:
    from sklearn import metrics

    n_classes = probabilities.shape[1]
    if n_classes < 2 or len(present) < n_classes:
        return None
    if n_classes == 2:
        return float(metrics.roc_auc_score(y, probabilities[:, 1], sample_weight=weight))
    return float(metrics.roc_auc_score(y, probabilities, multi_class="ovr", sample_weight=weight))


def _log_loss(probabilities: NDArray[Any], y: NDArray[Any], weight: Any, every: Any) -> float | None:
    from sklearn import metrics

    if len(every) < 2:
        return None
    return float(metrics.log_loss(y, probabilities, labels=every, sample_weight=weight))


def agreement(
    teacher: Forest,
    student: Forest,
    teacher_margin: NDArray[Any],
    student_margin: NDArray[Any],
    teacher_answers: NDArray[Any] | None = None,
    student_answers: NDArray[Any] | None = None,
) -> dict[str, float | None]:
    """How alike two models answer on the same rows.

    Parameters
    ----------
    teacher, student : Forest
        The models.
    teacher_margin, student_margin : ndarray of shape (n_rows, n_outputs)
        Their margins.
    teacher_answers, student_answers : ndarray of shape (n_rows, n_classes) or (n_rows, n_outputs), optional
        Compared in place of what the margins say, where both are given: answers for rows that were not fitted.

    Returns
    -------
    dict
        `equal_labels`: the share of rows with the same label, None for regression. `largest_margin_difference`:
        None where the margins have different units. `largest_difference` and `mean_difference` of probabilities
        or predicted values.
    """
    if teacher_answers is not None and student_answers is not None:
        ours, theirs, margins = student_answers, teacher_answers, None
        labels = codes_of(teacher, teacher_margin, theirs), codes_of(student, student_margin, ours)
    else:
        ours, theirs = student.answers(student_margin), teacher.answers(teacher_margin)
        alike = teacher.link_text == student.link_text and teacher_margin.shape == student_margin.shape
        margins = np.abs(student_margin.astype(np.float64) - teacher_margin) if alike else None
        labels = codes_of(teacher, teacher_margin, None), codes_of(student, student_margin, None)
    difference = np.abs(ours - theirs)
    return {
        "equal_labels": float(np.mean(labels[0] == labels[1])) if teacher.is_classifier else None,
        "largest_margin_difference": None if margins is None else float(margins.max(initial=0.0)),
        "largest_difference": float(difference.max(initial=0.0)),
        "mean_difference": float(difference.mean()) if difference.size else 0.0,
    }


def codes_of(forest: Forest, margin: NDArray[Any], answers: NDArray[Any] | None) -> NDArray[np.intp]:
    """The class code of each row by its answers, equal ones decided as the forest decides; 0 of a regression.

    Parameters
    ----------
    forest : Forest
        The model, or what it was made from.
    margin : ndarray of shape (n_rows, n_outputs)
        Its margins, which decide where `answers` is None.
    answers : ndarray of shape (n_rows, n_classes), optional
        Probabilities from elsewhere, such as predictions out of bag.
    """
    if not forest.is_classifier:
        return np.zeros(len(margin), np.intp)
    if answers is None:
        return forest.decide(margin)
    is_lone = forest.n_outputs == 1 and answers.shape[1] == 2
    return forest.decide(answers[:, 1:] - answers[:, :1] if is_lone else answers)


def structure(forest: Forest) -> dict[str, int]:
    """Counts that say how large a forest is, whatever its format.

    Parameters
    ----------
    forest : Forest
        The model.

    Returns
    -------
    dict
        `trees`, `nodes`, `leaves`, `depth` (splits on the longest path), `thresholds` (distinct pairs of feature and
        threshold), `features` (that some split tests) and `leaf_values` (distinct rows of values).
    """
    nodes = forest.nodes
    numeric = (nodes.feature >= 0) & (nodes.category_set < 0)
    values, code = np.unique(nodes.threshold[numeric], return_inverse=True)
    tests = nodes.feature[numeric] * np.int64(len(values)) + code
    return {
        "trees": forest.n_trees,
        "nodes": forest.n_nodes,
        "leaves": forest.n_leaves,
        "depth": int(forest.depth.max(initial=0)),
        "thresholds": len(np.unique(tests)),
        "features": len(np.unique(nodes.feature[~forest.is_leaf])),
        "leaf_values": forest.n_values,
    }


def teacher_bytes(model: Any, forest: Forest) -> dict[str, int | None]:
    """Bytes of a trained model in the forms in which it is kept today.

    Parameters
    ----------
    model : estimator, booster or path
        What was trained.
    forest : Forest
        The same, as read.

    Returns
    -------
    dict
        `pickle` (None for a file and for what cannot be pickled), `library_file` (the file itself, XGBoost's UBJSON,
        LightGBM's text, CatBoost's .cbm, Treelite's checkpoint; None where the library has no format of its own),
        `plain_c_tables` (the tables that everybody starts from) and `c_tables` (ours, of the model as it is).
    """
    return {
        "pickle": None if _is_path(model) else pickle_bytes(model),
        "library_file": _library_bytes(model),
        "plain_c_tables": sizes.plain_bytes(forest),
        "c_tables": sizes.c_bytes(forest),
    }


def pickle_bytes(model: Any) -> int | None:
    """Bytes of `model` pickled, counted as they pass so that none are kept; None where it can't be pickled.

    Parameters
    ----------
    model : object
        Anything.
    """
    counter = _ByteCounter()
    try:
        pickle.Pickler(counter, protocol=pickle.HIGHEST_PROTOCOL).dump(model)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError):
        return None
    return counter.n_bytes


class _ByteCounter:
    """A file that only counts."""

    def __init__(self) -> None:
        self.n_bytes = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.n_bytes += size
        return size


def _is_path(model: Any) -> bool:
    return isinstance(model, (str, os.PathLike))


def _library_bytes(model: Any) -> int | None:
    if _is_path(model):
        return os.path.getsize(model)
    if hasattr(model, "calc_leaf_indexes"):
        with tempfile.TemporaryDirectory(prefix="ensemble_compress_") as folder:
            path = os.path.join(folder, "model.cbm")
            model.save_model(path, format="cbm")
            return os.path.getsize(path)
    booster = model.get_booster() if hasattr(model, "get_booster") else getattr(model, "booster_", model)
    if hasattr(booster, "save_raw"):
        return len(booster.save_raw("ubj"))
    if hasattr(booster, "model_to_string"):
        return len(booster.model_to_string().encode())
    if hasattr(booster, "serialize_bytes"):
        return len(booster.serialize_bytes())
    return None
