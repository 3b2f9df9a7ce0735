"""How numbers and the names of measures are worded, alike in reports, notebooks and on the command line."""

NAMES = {
    "pickle": "pickle",
    "library_file": "library's own file",
    "plain_c_tables": "plain C tables",
    "c_tables": "C tables",
    "leaf_values": "distinct leaf values",
    "thresholds": "distinct thresholds",
    "features": "features used",
    "roc_auc": "ROC AUC",
    "f1": "F1 (macro)",
    "precision": "precision (macro)",
    "recall": "recall (macro)",
    "r2": "R2",
    "rmse": "RMSE",
    "mae": "MAE",
    "equal_labels": "equal labels",
    "largest_margin_difference": "largest margin difference",
    "largest_difference": "largest prediction difference",
    "mean_difference": "mean prediction difference",
    "batch": "a row in a batch",
    "single": "one row alone",
    "batch_us": "microseconds a row, in a batch",
    "single_us": "microseconds, one row alone",
    "own_batch": "a row in a batch, own library",
    "own_single": "one row alone, own library",
}
"""How a table names a measure; others are shown by their key, underscores as spaces, and exported files by their names."""


def name(key: str) -> str:
    """How a table names a measure.

    Parameters
    ----------
    key : str
        The measure's key in a report.

    Examples
    --------
    >>> name("r2"), name("log_loss")
    ('R2', 'log loss')
    """
    return NAMES.get(key, key if "." in key else key.replace("_", " "))


def number(value: object) -> str:
    """A number for a table: counts with thousands apart, others with four or so digits, "-" for None.

    Parameters
    ----------
    value : int, float, bool, str or None
        What to show.

    Examples
    --------
    >>> number(12345), number(0.97222222), number(123.456), number(None)
    ('12,345', '0.9722', '123.5', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, (bool, str)):
        return str(value)
    if isinstance(value, int) or (isinstance(value, float) and 1000 <= abs(value) < 1e15):
        return f"{value:,.0f}"
    if isinstance(value, float) and 0.0001 <= abs(value) < 10:
        return f"{value:.4f}"
    return f"{value:.4g}"


def size(n_bytes: float) -> str:
    """A size for a sentence, in units of 1000.

    Parameters
    ----------
    n_bytes : float
        Bytes.

    Examples
    --------
    >>> size(812), size(8120), size(81_200_000)
    ('812 bytes', '8.12 kB', '81.2 MB')
    """
    if n_bytes < 1000:
        return f"{n_bytes:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        n_bytes /= 1000
        if n_bytes < 999.5 or unit == "GB":
            break
    return f"{n_bytes:.3g} {unit}"


def ratio(before: float, after: float, smaller: str, larger: str) -> str:
    """How many times smaller, in words.

    Parameters
    ----------
    before, after : float
        Two positive numbers.
    smaller, larger : str
        The words for either case.

    Examples
    --------
    >>> ratio(8.0, 2.0, "smaller", "larger")
    '4.0 times smaller'
    """
    if before == after:
        return "the same"
    times, word = (before / after, smaller) if before > after else (after / before, larger)
    return f"{times:.3g} times {word}" if times >= 9.95 else f"{times:.1f} times {word}"
