"""A model in a shared library, read with ctypes and numpy alone: copy this file and the library to wherever they shall run.

    from load_model import Model  # load_model.py lies beside model.so
    model = Model()
    model.predict(X), model.predict_proba(X), model.margin(X)

`ensemble_compress` writes this file beside a library on demand (`export("model.so", python=True)`) and is not needed to use it.
Loading a library runs code of its own: load only files that you trust.
"""

import ctypes
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIBRARY = "model.so"
ABI_VERSION = 2


class Model:
    """The model in a shared library; any number of threads may use it at once.

    Parameters
    ----------
    path : str or Path, optional
        The library; None: the one beside this file that it was written for.

    Raises
    ------
    ValueError
        The file is a library of another kind or version.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(__file__).resolve().with_name(LIBRARY) if path is None else Path(path).resolve()
        self._library = ctypes.CDLL(str(self.path))
        version = self._library.ec_abi_version() if hasattr(self._library, "ec_abi_version") else None
        if version != ABI_VERSION:
            raise ValueError(
                f"{self.path} has interface {version}; expected {ABI_VERSION}: export the model and this file again"
            )
        self._library.ec_metadata.restype = ctypes.c_char_p
        self.metadata: dict[str, Any] = json.loads(self._library.ec_metadata())
        self.n_features_in_: int = self.metadata["n_features"]
        self.n_outputs: int = self.metadata["n_outputs"]
        labels = self.metadata["classes"]
        self.classes_ = None if labels is None else np.array(labels, np.dtype(self.metadata["class_dtype"]))
        self._n_answers: int = self._library.ec_n_answers()

    def margin(self, X: Any) -> NDArray[Any]:
        """The sums of the trees before the link, shape (n_rows, n_outputs), in the model's own float type.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Numbers; categories as their codes, NaN for a missing value, which a masked one is, too.
        """
        return self._ask("predict_margin", X, (self.n_outputs,), np.float64).astype(
            self.metadata["margin_dtype"]
        )

    def predict(self, X: Any) -> NDArray[Any]:
        """The label of each row, or a regression model's predictions: shape (n_rows,) where there is one a row.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            As for `margin`.
        """
        if self.classes_ is not None:
            return np.asarray(self.classes_[self._ask("predict_labels", X, (), np.int32)])
        answer = self._answers(X)
        return answer[:, 0] if self.n_outputs == 1 else answer

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """The probability of each class, shape (n_rows, n_classes).

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            As for `margin`.
        """
        if self.classes_ is None:
            raise ValueError("predict_proba needs a classifier; this model is a regression model")
        return self._answers(X)

    def _answers(self, X: Any) -> NDArray[Any]:
        return self._ask("predict_answers", X, (self._n_answers,), np.float64).astype(
            self.metadata["margin_dtype"]
        )

    def _ask(self, name: str, X: Any, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        rows = self._rows(X)
        out = np.empty((len(rows), *shape), dtype)
        function = self._library[name if rows.dtype == np.float32 else f"{name}_f64"]
        function.restype = None
        function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
        function(rows.ctypes.data, len(rows), out.ctypes.data)
        return out

    def _rows(self, X: Any) -> NDArray[Any]:
        """X as the library reads it: floats and doubles as they are, other numbers as the type that it compares in."""
        given = np.asarray(X)
        if given.dtype.kind in "cmM":
            raise ValueError(
                f"X holds {given.dtype}; expected real numbers: turn complex numbers, dates and times into those that the"
                " model was trained on"
            )
        if isinstance(X, np.ma.MaskedArray):
            given = np.asarray(np.ma.filled(X.astype(np.float64), np.nan))
        if given.dtype.kind not in "biuf":
            given = given.astype(np.float64)
        dtype = given.dtype if given.dtype in (np.float32, np.float64) else self.metadata["x_dtype"]
        rows = np.ascontiguousarray(given, np.dtype(dtype).newbyteorder("="))
        if given.ndim != 2 or given.shape[1] != self.n_features_in_:
            raise ValueError(f"X has shape {given.shape}; expected (n_rows, {self.n_features_in_})")
        if not self.metadata["handles_nan"] and np.isnan(rows).any():
            raise ValueError("X contains NaN, and the model was trained without a rule for missing values")
        return rows
