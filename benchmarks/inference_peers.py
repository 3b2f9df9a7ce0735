"""Everybody who answers in `inference.py`: our two engines and every library that runs the same model.

What is timed of each is a call on rows in the type that it takes without a copy. Where a library has a container of its own
for rows (CatBoost, TL2cgen, XGBoost's DMatrix, YDF) that is filled beforehand, in its favour. Models are converted once and kept beside
the trained one. YDF cannot read other libraries' models: it runs one of the same shape that it has trained itself, so
that only its times mean something.
"""

import ctypes
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from inference_engine import DOUBLE, SINGLE, Engine, Lleaves, kept
from inference_models import SHAPES, Case, training_rows
from numpy.typing import NDArray

MOST_NODES_TO_COMPILE = 100_000
"""TL2cgen writes code for each node: 286,000 nodes took a compiler four minutes."""

# -- ours ----------------------------------------------------------------------------------------------------------


def ours(case: Case, n_threads: int) -> Engine:
    """`Forest.margin`."""
    forest = case.forest
    return Engine(
        "ours", lambda rows: forest.margin(rows, n_jobs=n_threads), dtype=forest.x_dtype, tolerance=0.0
    )


def our_library(case: Case, n_threads: int) -> Engine:
    """Our shared library, called through ctypes with arguments made beforehand."""
    from ensemble_compress.writers.shared_library import write_shared_library

    forest = case.forest
    with tempfile.TemporaryDirectory(prefix="benchmark_") as folder:
        library = ctypes.CDLL(str(write_shared_library(forest, Path(folder) / "model.so")))
    # Rows of the forest's own type, which are not converted on the way.
    margin = library.predict_margin if forest.x_dtype == "float32" else library.predict_margin_f64
    margin.restype, margin.argtypes = None, [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    pool = ThreadPoolExecutor(n_threads)

    def given(rows: NDArray[Any]) -> Any:
        out = np.empty((len(rows), forest.n_outputs))
        bounds = np.linspace(0, len(rows), min(n_threads, len(rows)) + 1).astype(int).tolist()
        parts = [(rows[a:b].ctypes.data, b - a, out[a:b].ctypes.data) for a, b in itertools.pairwise(bounds)]
        return parts, rows, out

    def run(given: Any) -> Any:
        if len(given[0]) == 1:
            margin(*given[0][0])
        else:
            list(pool.map(lambda part: margin(*part), given[0]))
        return given[2]

    return Engine("our .so", run, given, dtype=forest.x_dtype, tolerance=0.0)


# -- the libraries that trained the models -------------------------------------------------------------------------


def sklearn(case: Case, n_threads: int) -> Engine:
    """scikit-learn's `predict_proba`."""
    if SHAPES[case.name].library == "hist":
        return Engine("scikit-learn", case.model.decision_function, dtype="float64", tolerance=DOUBLE)
    case.model.set_params(n_jobs=n_threads)
    return Engine("scikit-learn", case.model.predict_proba, answer="probability", tolerance=DOUBLE)


def xgboost_inplace(case: Case, n_threads: int) -> Engine:
    """XGBoost on an array."""
    booster = case.model.get_booster()
    booster.set_param({"nthread": n_threads})
    return Engine(
        "XGBoost", lambda rows: booster.inplace_predict(rows, predict_type="margin", validate_features=False)
    )


def xgboost_matrix(case: Case, n_threads: int) -> Engine:
    """XGBoost on a DMatrix that was filled before."""
    import xgboost

    booster = case.model.get_booster()
    booster.set_param({"nthread": n_threads})
    return Engine(
        "XGBoost, DMatrix",
        lambda matrix: booster.predict(matrix, output_margin=True),
        lambda rows: xgboost.DMatrix(rows, nthread=n_threads),
    )


def lightgbm(case: Case, n_threads: int) -> Engine:
    """LightGBM's raw scores."""
    booster = case.model.booster_
    return Engine(
        "LightGBM",
        lambda rows: booster.predict(rows, raw_score=True, num_threads=n_threads, validate_features=False),
        tolerance=0.0 if n_threads == 1 else DOUBLE,
    )


def lightgbm_row(case: Case, n_threads: int) -> Engine:
    """LightGBM's call for one row whose arguments were settled before."""
    from lightgbm.basic import _LIB, _safe_call

    booster = case.model.booster_
    settled, length = ctypes.c_void_p(), ctypes.c_int64()
    raw_score, all_rounds, float32 = 1, -1, 0
    arguments = [ctypes.c_int(k) for k in (raw_score, 0, all_rounds, float32)]
    n_features = ctypes.c_int32(case.forest.n_features)
    parameters = ctypes.c_char_p(b"num_threads=1")
    init = _LIB.LGBM_BoosterPredictForMatSingleRowFastInit
    _safe_call(init(booster._handle, *arguments, n_features, parameters, ctypes.byref(settled)))
    fast, at_length = _LIB.LGBM_BoosterPredictForMatSingleRowFast, ctypes.byref(length)

    def given(rows: NDArray[Any]) -> Any:
        out = np.empty(1)
        return ctypes.c_void_p(rows.ctypes.data), ctypes.c_void_p(out.ctypes.data), out, rows

    def run(given: Any) -> Any:
        fast(settled, given[0], at_length, given[1])
        return given[2]

    return Engine("LightGBM, single row", run, given, tolerance=DOUBLE, most_rows=1)


def catboost(case: Case, n_threads: int) -> Engine:
    """CatBoost on a Pool that was filled before."""
    import catboost

    return Engine(
        "CatBoost",
        lambda rows: case.model.predict(rows, prediction_type="RawFormulaVal", thread_count=n_threads),
        catboost.Pool,
        tolerance=DOUBLE,
    )


# -- others that run them ------------------------------------------------------------------------------------------


def treelite_model(case: Case) -> Any:
    """The model as treelite has it."""
    import treelite
    import treelite.sklearn

    library = SHAPES[case.name].library
    if library == "lightgbm":
        return treelite.frontend.from_lightgbm(case.model.booster_)
    if library == "xgboost":
        return treelite.frontend.from_xgboost(case.model.get_booster())
    return treelite.sklearn.import_model(case.model)


def _treelite_answer(case: Case) -> dict[str, Any]:
    is_single = SHAPES[case.name].library == "xgboost"
    return {
        "answer": "probability" if SHAPES[case.name].library == "forest" else "margin",
        "tolerance": SINGLE if is_single else DOUBLE,
        "dtype": "float64" if SHAPES[case.name].library in ("lightgbm", "hist") else "float32",
    }


def gtil(case: Case, n_threads: int) -> Engine:
    """Treelite's own interpreter."""
    import treelite

    model = treelite_model(case)
    return Engine(
        "Treelite GTIL",
        lambda rows: treelite.gtil.predict(model, rows, nthread=n_threads, pred_margin=True),
        **_treelite_answer(case),
    )


def tl2cgen(case: Case, n_threads: int) -> Engine:
    """The model as C code of TL2cgen, compiled for this processor, on a matrix that was filled before."""
    if case.forest.n_nodes > MOST_NODES_TO_COMPILE:
        raise ValueError(f"{case.forest.n_nodes:,} nodes: not compiled above {MOST_NODES_TO_COMPILE:,}")
    import tl2cgen

    path = case.folder / "tl2cgen.so"
    if not path.exists():
        tl2cgen.export_lib(treelite_model(case), toolchain="gcc", libpath=path, params={"parallel_comp": 16}, options=["-march=native"])  # fmt: skip
    predictor = tl2cgen.Predictor(path, nthread=n_threads)
    how = _treelite_answer(case)
    if how["dtype"] == "float32" and SHAPES[case.name].library == "forest":
        how["dtype"] = "float64"
    return Engine("TL2cgen", lambda rows: predictor.predict(rows, pred_margin=True), tl2cgen.DMatrix, **how)


@contextmanager
def _truths_as_numbers() -> Iterator[None]:
    """skl2onnx 1.20 hands over lists of truths, which onnx 1.23 takes no more where it wants whole numbers."""
    from onnx import helper

    make = helper.make_attribute

    def make_attribute(key: str, value: Any, *others: Any, **options: Any) -> Any:
        if isinstance(value, list | tuple) and any(isinstance(one, bool | np.bool_) for one in value):
            value = [int(one) for one in value]
        return make(key, value, *others, **options)

    helper.make_attribute = make_attribute
    try:
        yield
    finally:
        helper.make_attribute = make


def onnx_bytes(case: Case) -> bytes:
    """The model as ONNX, by the usual converter of its library."""
    library, n_features = SHAPES[case.name].library, case.forest.n_features
    if library == "catboost":
        with tempfile.TemporaryDirectory(prefix="benchmark_") as folder:
            case.model.save_model(str(Path(folder) / "model.onnx"), format="onnx")
            return (Path(folder) / "model.onnx").read_bytes()
    if library in ("forest", "hist"):
        from skl2onnx import to_onnx

        with _truths_as_numbers():
            content: bytes = to_onnx(case.model, case.pool[:1], options={"zipmap": False}).SerializeToString()
        return content
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    kind = [("X", FloatTensorType([None, n_features]))]
    if library == "lightgbm":
        model = onnxmltools.convert_lightgbm(case.model, initial_types=kind, zipmap=False)
    else:
        model = onnxmltools.convert_xgboost(case.model, initial_types=kind)
    return model.SerializeToString()


def onnx_runtime(case: Case, n_threads: int) -> Engine:
    """ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = n_threads, 1
    content = kept(case.folder / "model.onnx", lambda: onnx_bytes(case))
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    wanted = [session.get_outputs()[-1].name]
    is_zipped = session.get_outputs()[-1].type.startswith("seq")

    def run(rows: NDArray[Any]) -> Any:
        found = session.run(wanted, {name: rows})[0]
        return [list(one.values()) for one in found] if is_zipped else found

    return Engine("ONNX Runtime", run, answer="probability", may_differ=0.002)


def onedal(case: Case, n_threads: int) -> Engine:
    """oneDAL's boosting engine with a converted model."""
    import daal4py
    from daal4py import mb

    daal4py.daalinit(n_threads)
    library = SHAPES[case.name].library
    given = treelite_model(case) if library in ("forest", "hist") else case.model
    model = mb.convert_model(given)
    run = model.predict_proba if model.is_classifier_ else model.predict
    return Engine("oneDAL", run, answer="probability", may_differ=0.002)


def lleaves(case: Case, n_threads: int) -> Any:
    """lleaves, where EC_LLEAVES_PYTHON names the Python of an environment that has it."""
    python = os.environ.get("EC_LLEAVES_PYTHON")
    if python is None:
        raise ValueError("EC_LLEAVES_PYTHON names no Python that has lleaves and llvmlite < 0.44")
    model = case.folder / "model.txt"
    kept(model, lambda: case.model.booster_.model_to_string().encode())
    pool = case.folder.parent / f"{SHAPES[case.name].data}.npy"
    return Lleaves(model, pool, n_threads, python)


# -- those that run only what they train -----------------------------------------------------------------------------

YDF = {
    "lightgbm": {
        "num_trees": 1000,
        "growing_strategy": "BEST_FIRST_GLOBAL",
        "max_num_nodes": 31,
        "max_depth": -1,
    },
    "xgboost": {"num_trees": 500, "max_depth": 7},
    "letter": {
        "num_trees": 100,
        "max_depth": 7,
        "growing_strategy": "BEST_FIRST_GLOBAL",
        "max_num_nodes": 19,
    },
    "forest10": {"num_trees": 200, "max_depth": 11, "winner_take_all": False},
    "forest": {"num_trees": 200, "max_depth": -1, "min_examples": 1, "winner_take_all": False},
    "hist": {"num_trees": 300, "growing_strategy": "BEST_FIRST_GLOBAL", "max_num_nodes": 31, "max_depth": -1},
}
YDF_ROWS = {"forest": 60_000, "forest10": 60_000}
"""Boosted trees are as large when trained on fewer rows, and training takes long."""


def _columns(rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {f"f{k}": np.ascontiguousarray(column) for k, column in enumerate(rows.T)}


def _train_ydf(case: Case, folder: Path) -> None:
    import ydf as library

    X, y = training_rows(case, YDF_ROWS.get(case.name, 10_000))
    options = YDF[case.name] | ({"num_trees": 5} if case.is_quick else {})
    if "winner_take_all" in options:
        learner = library.RandomForestLearner(
            label="y", random_seed=0, compute_oob_performances=False, **options
        )
    else:
        learner = library.GradientBoostedTreesLearner(
            label="y", random_seed=0, early_stopping="NONE", validation_ratio=0.0, **options
        )
    learner.train({**_columns(X), "y": y.astype(np.int64)}, verbose=0).save(str(folder))


def ydf(case: Case, n_threads: int) -> Engine:
    """YDF with a model of the same shape that it has trained itself, on a dataset that was filled before."""
    import ydf as library

    folder = case.folder / "ydf"
    if not folder.exists():
        _train_ydf(case, folder)
    model = library.load_model(str(folder))
    columns = set(model.input_feature_names())

    def given(rows: NDArray[Any]) -> Any:
        chosen = {name: column for name, column in _columns(rows).items() if name in columns}
        return library.create_vertical_dataset(
            chosen, data_spec=model.data_spec(), required_columns=sorted(columns)
        )

    def run(data: Any) -> Any:
        return model._model.Predict(data._dataset, False, num_threads=n_threads)

    return Engine("YDF, a model of its own", run, given, answer="")


# -- who answers of which shape ------------------------------------------------------------------------------------

ANY = (ours, our_library, onnx_runtime, onedal)
PEERS: dict[str, tuple[Callable[[Case, int], Any], ...]] = {
    "lightgbm": (*ANY, lightgbm, lightgbm_row, gtil, tl2cgen, lleaves, ydf),
    "xgboost": (*ANY, xgboost_inplace, xgboost_matrix, gtil, tl2cgen, ydf),
    "letter": (*ANY, xgboost_inplace, xgboost_matrix, gtil, tl2cgen, ydf),
    "forest10": (*ANY, sklearn, gtil, tl2cgen, ydf),
    "forest": (*ANY, sklearn, gtil, tl2cgen, ydf),
    "hist": (*ANY, sklearn, gtil, tl2cgen, ydf),
    "catboost": (*ANY, catboost),
}


def engines(case: Case, n_threads: int) -> tuple[list[Any], dict[str, str]]:
    """(those that run here, why the others don't)."""
    found, absent = [], {}
    for make in PEERS[case.name]:
        try:
            found.append(make(case, n_threads))
        except Exception as error:
            if make in (ours, our_library):
                raise
            absent[make.__name__] = (
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            )
    return found, absent
