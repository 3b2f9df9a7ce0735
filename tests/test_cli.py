"""The command line: what it prints where, what it writes, how it fails. Models and tables are small files."""

import io
import json
import os
import pickle
import re
import subprocess
import sys

import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from typer.testing import CliRunner

import ensemble_compress as ec
from ensemble_compress import cli, cli_files, cli_steps
from ensemble_compress.writers import toolchain

RANDOM = np.random.default_rng(0)
TABLE = pd.DataFrame(RANDOM.normal(size=(300, 4)), columns=["age", "net pay", "height", "mass"])
TABLE["sold"] = (TABLE["age"] + TABLE["net pay"] ** 2 > 0.5).astype(int)
TRAIN, TEST = TABLE[:200], TABLE[200:]
X_TRAIN, X_TEST = TRAIN.drop(columns="sold"), TEST.drop(columns="sold")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of tables and of model files of each kind."""
    folder = tmp_path_factory.mktemp("files")
    TRAIN.to_csv(folder / "train.csv", index=False)
    TEST.to_csv(folder / "test.csv", index=False)
    TEST.to_parquet(folder / "test.parquet", index=False)
    booster = xgboost.XGBClassifier(n_estimators=8, max_depth=3, n_jobs=1).fit(X_TRAIN, TRAIN["sold"])
    booster.save_model(folder / "model.json")
    booster.save_model(folder / "model.ubj")
    light = lightgbm.LGBMClassifier(n_estimators=8, num_leaves=7, verbose=-1, n_jobs=1)
    light.fit(X_TRAIN, TRAIN["sold"]).booster_.save_model(folder / "model.txt")
    nameless = lightgbm.LGBMClassifier(n_estimators=4, num_leaves=4, verbose=-1, n_jobs=1)
    nameless.fit(X_TRAIN.to_numpy(), TRAIN["sold"]).booster_.save_model(folder / "nameless.txt")
    forest = RandomForestClassifier(12, max_depth=4, random_state=0).fit(X_TRAIN, TRAIN["sold"])
    skops.io.dump(forest, folder / "model.skops")
    (folder / "model.pkl").write_bytes(pickle.dumps(forest))
    regression = RandomForestRegressor(5, max_depth=3, random_state=0).fit(X_TRAIN, TRAIN["age"])
    skops.io.dump(regression, folder / "regression.skops")
    return folder


def run(*arguments, exit_code=0):
    """The result of a call inside this process; exceptions that nobody catches come through."""
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result


def refusal(*arguments, exit_code=2):
    """The one line that a failing call prints."""
    result = run(*arguments, exit_code=exit_code)
    lines = result.stderr.splitlines()
    assert result.stdout == ""
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


def start(*arguments, **variables):
    """A process of its own, piped."""
    code = "from ensemble_compress.cli import main; main()"
    command = [sys.executable, "-P", "-c", code, *map(str, arguments)]
    environment = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


# -- asking ---------------------------------------------------------------------------------------------------


def test_the_version_is_printed():
    assert run("--version").stdout == f"ensemble-compress {ec.__version__}\n"


def test_help_names_every_command():
    text = run("--help").stdout
    for name in ("demo", "inspect", "compress", "export", "predict", "compare"):
        assert re.search(rf"\b{name}\b", text)


@pytest.mark.parametrize("name", ["inspect", "compress", "export", "predict", "compare"])
def test_help_of_a_command_shows_an_example_that_its_options_allow(name):
    text = " ".join(run(name, "--help").stdout.split())
    assert f"ensemble-compress {name} " in text
    assert run(name, exit_code=2).stdout == ""


def test_help_is_quick_because_nothing_large_is_imported():
    code = "import sys, ensemble_compress.cli; print([m for m in ('numba', 'sklearn', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# -- inspect --------------------------------------------------------------------------------------------------


def test_the_suffix_of_a_compressed_model_may_be_in_capitals(files, tmp_path):
    ec.pack(files / "model.txt").save(tmp_path / "model.forest")
    expected = run("inspect", tmp_path / "model.forest", "--json").stdout
    (tmp_path / "model.forest").rename(tmp_path / "model.FOREST")
    found = run("inspect", tmp_path / "model.FOREST", "--json").stdout
    assert found.replace("model.FOREST", "model.forest") == expected


def test_a_suffix_in_capitals_is_written(files, tmp_path):
    assert "SMALL.h, " in run("export", files / "model.json", "-o", tmp_path / "SMALL.H").stderr
    run("export", files / "model.json", "-o", tmp_path / "SMALL.FOREST")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["SMALL.FOREST", "SMALL.h"]
    assert ec.load(tmp_path / "SMALL.FOREST").forest == ec.read(files / "model.json")


def test_a_folder_is_no_table(files, tmp_path):
    assert "is a directory; expected a table (.csv or .parquet)" in refusal(
        "predict", files / "model.json", "--data", tmp_path
    )


def test_the_suffix_of_a_table_may_be_in_capitals(files, tmp_path):
    (tmp_path / "TEST.CSV").write_bytes((files / "test.csv").read_bytes())
    expected = run(
        "predict", files / "model.json", "--data", files / "test.csv", "--target-column", "sold"
    ).stdout
    assert (
        run(
            "predict", files / "model.json", "--data", tmp_path / "TEST.CSV", "--target-column", "sold"
        ).stdout
        == expected
    )


@pytest.mark.parametrize("name", ["model.json", "model.ubj", "model.txt", "model.skops"])
def test_inspect_tells_what_a_file_holds(files, name):
    facts = json.loads(run("inspect", files / name, "--json").stdout)
    forest = ec.read(files / name)
    assert facts["Structure"]["trees"] == forest.n_trees
    assert facts["Structure"]["leaves"] == forest.n_leaves
    assert facts["Bytes"]["file"] == (files / name).stat().st_size
    assert facts["Bytes"]["c_tables"] == sum(facts["Bytes of the C tables by part"].values())
    assert facts["report"] is None


def test_inspect_prints_tables_and_some_nodes(files):
    text = run("inspect", files / "model.txt", "--dump", 3).stdout
    assert re.search(r"^trees +8$", text, re.MULTILINE)
    assert re.search(r"^names of columns +age, net_pay, height, mass$", text, re.MULTILINE)
    assert "more nodes" in text.splitlines()[-1]


def test_a_pickle_is_loaded_only_when_trusted(files):
    assert "is a pickle, and loading a pickle runs the code it holds" in refusal(
        "inspect", files / "model.pkl"
    )
    trusted = json.loads(run("inspect", files / "model.pkl", "--json", "--trust-pickle").stdout)
    assert trusted["Structure"]["trees"] == 12


# -- predict --------------------------------------------------------------------------------------------------


def test_predictions_are_those_of_the_library_that_trained(files):
    expected = xgboost.XGBClassifier()
    expected.load_model(files / "model.json")
    out = run("predict", files / "model.json", "-d", files / "test.csv", "--proba").stdout
    table = pd.read_csv(io.StringIO(out))
    assert list(table.columns) == ["prediction", "probability_0", "probability_1"]
    np.testing.assert_array_equal(expected.predict(X_TEST), table["prediction"])
    np.testing.assert_allclose(table["probability_1"], expected.predict_proba(X_TEST)[:, 1], rtol=1e-6)


def test_parquet_and_csv_give_the_same_predictions(files, tmp_path):
    run("predict", files / "model.skops", "-d", files / "test.parquet", "-o", tmp_path / "out.parquet")
    result = run("predict", files / "model.skops", "-d", files / "test.csv", "-o", tmp_path / "out.csv")
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "out.csv"), pd.read_parquet(tmp_path / "out.parquet")
    )
    assert result.stdout == ""
    assert f"wrote {tmp_path / 'out.csv'}, 100 rows" in result.stderr


def test_the_number_of_threads_changes_no_prediction(files):
    arguments = "predict", files / "model.json", "-d", files / "test.csv", "--proba"
    assert run(*arguments).stdout == run(*arguments, "--n-jobs", 2).stdout
    assert "n_jobs is 0; expected None or a whole number but 0" in refusal(*arguments, "--n-jobs", 0)


def test_a_regression_model_predicts_numbers(files):
    out = run("predict", files / "regression.skops", "-d", files / "test.csv").stdout
    expected = ec.read(files / "regression.skops").predict(X_TEST)
    np.testing.assert_array_equal(expected, [float(line) for line in out.splitlines()[1:]])
    assert "--proba needs a classifier" in refusal(
        "predict", files / "regression.skops", "-d", files / "test.csv", "--proba"
    )


def test_columns_are_found_by_name_wherever_they_stand(files, tmp_path):
    TEST[["mass", "sold", "height", "net pay", "age"]].to_csv(tmp_path / "other.csv", index=False)
    for model in ("model.json", "model.txt", "model.skops"):  # LightGBM's names have underscores for blanks
        expected = run("predict", files / model, "-d", files / "test.csv").stdout
        assert run("predict", files / model, "-d", tmp_path / "other.csv").stdout == expected


def test_names_that_a_library_made_up_are_no_names(files):
    out = run("predict", files / "nameless.txt", "-d", files / "test.csv", "-t", "sold").stdout
    expected = ec.read(files / "nameless.txt").predict(X_TEST.to_numpy())
    np.testing.assert_array_equal(expected, pd.read_csv(io.StringIO(out))["prediction"])
    assert "has 5 columns besides the target, and the model was trained on 4" in refusal(
        "predict", files / "nameless.txt", "-d", files / "test.csv"
    )


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_text_is_a_level_where_the_model_stores_levels(tmp_path, library):
    table = X_TRAIN.assign(town=pd.Categorical(RANDOM.choice(["Bonn", "Ulm", "Hof"], len(X_TRAIN))))
    y = (table["town"] == "Ulm") ^ (table["age"] > 0)
    if library == "xgboost":
        model = xgboost.XGBClassifier(n_estimators=5, max_depth=3, n_jobs=1, enable_categorical=True).fit(
            table, y
        )
        model.save_model(tmp_path / "model.json")
    else:
        model = lightgbm.LGBMClassifier(n_estimators=5, min_child_samples=5, verbose=-1, n_jobs=1).fit(
            table, y
        )
        model.booster_.save_model(tmp_path / "model.txt")
    table.to_csv(tmp_path / "rows.csv", index=False)
    path = next(tmp_path.glob("model.*"))
    out = pd.read_csv(io.StringIO(run("predict", path, "-d", tmp_path / "rows.csv").stdout))
    np.testing.assert_array_equal(model.predict(table).astype(int), out["prediction"])
    assert (out["prediction"] == y).mean() > 0.9


# -- compare --------------------------------------------------------------------------------------------------


def test_compare_scores_each_model_on_the_same_rows(files):
    paths = [files / name for name in ("model.json", "model.txt", "nameless.txt")]
    found = json.loads(run("compare", *paths, "-d", files / "test.csv", "-t", "sold", "--json").stdout)
    for path in paths:
        forest = ec.read(path)
        rows = X_TEST.set_axis(forest.feature_names, axis=1) if forest.feature_names else X_TEST
        assert found[str(path)]["accuracy"] == np.mean(forest.predict(rows) == TEST["sold"])
        assert found[str(path)]["leaves"] == forest.n_leaves
        assert found[str(path)]["batch_us"] > 0


def test_compare_shows_a_column_for_each_model(files):
    lines = run("compare", files / "model.json", "-d", files / "test.csv", "-t", "sold").stdout.splitlines()
    assert lines[0] == f"100 rows of {files / 'test.csv'}"
    assert any(line.startswith("ROC AUC  ") for line in lines)


def test_models_without_a_common_score_are_not_compared(files):
    assert "have no score in common" in refusal(
        *("compare", files / "model.json", files / "regression.skops", "-d", files / "test.csv", "-t", "sold")
    )


# -- bad input ------------------------------------------------------------------------------------------------


def table_file(path, **columns):
    pd.DataFrame({**X_TEST.to_dict("series"), "sold": TEST["sold"], **columns}).to_csv(path, index=False)
    return path


def test_a_missing_file_is_one_line_and_exit_code_2(files, tmp_path):
    assert refusal("inspect", tmp_path / "none.json").endswith("none.json: no such model file")
    text = refusal("predict", files / "model.json", "-d", tmp_path / "none.csv")
    assert text.endswith("none.csv: no such file; expected a table (.csv or .parquet)")


@pytest.mark.parametrize("suffix", [".json", ".ubj", ".txt", ".skops", ".forest"])
def test_an_empty_or_damaged_model_file_is_one_line_and_exit_code_2(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    for content in (b"", b"\x00nonsense {"):
        path.write_bytes(content)
        assert path.name in refusal("inspect", path)


def test_a_table_that_cannot_be_read_is_refused(files, tmp_path):
    model = files / "model.json"
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 or not")
    (tmp_path / "heading.csv").write_text("a,b\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "rows.xls").write_text("a,b\n")
    assert "broken.parquet cannot be read as Parquet: " in refusal(
        "predict", model, "-d", tmp_path / "broken.parquet"
    )
    assert "has no rows below its heading" in refusal("predict", model, "-d", tmp_path / "heading.csv")
    assert "empty.csv cannot be read as CSV: No columns" in refusal(
        "predict", model, "-d", tmp_path / "empty.csv"
    )
    assert "ends in .csv or .parquet" in refusal("predict", model, "-d", tmp_path / "rows.xls")


def test_a_text_column_is_named(files, tmp_path):
    path = table_file(tmp_path / "text.csv", height=["tall"] * 100)
    expected = f"column 'height' of {path} holds text ('tall') and the model has no levels for it"
    assert expected in refusal("predict", files / "model.json", "-d", path)


def test_a_column_that_the_model_lacks_is_named(files, tmp_path):
    X_TEST.drop(columns="mass").to_csv(tmp_path / "few.csv", index=False)
    assert "lacks the column(s) 'mass' that the model was trained on; it has 'age'" in refusal(
        "predict", files / "model.json", "-d", tmp_path / "few.csv"
    )


def test_a_wrong_target_is_explained(files, tmp_path):
    compare = ("compare", files / "model.json", "-d")
    assert "has no column 'price'; it has 'age', 'net pay', 'height', 'mass', 'sold'" in refusal(
        *compare, files / "test.csv", "-t", "price"
    )
    holes = table_file(tmp_path / "holes.csv", sold=[None] * 3 + [1] * 97)
    assert "column 'sold' of" in (text := refusal(*compare, holes, "-t", "sold"))
    assert "is empty in 3 row(s); drop those rows" in text
    words = table_file(tmp_path / "words.csv", sold=np.array(["no", "yes"])[TEST["sold"]])
    assert "which the model does not know; its classes are '0', '1'" in refusal(*compare, words, "-t", "sold")
    numbers = ("compare", files / "regression.skops", "-d", words, "-t", "sold")
    assert "the model predicts numbers" in refusal(*numbers)


def test_labels_may_be_given_in_the_order_of_the_codes(files, tmp_path):
    words = table_file(tmp_path / "words.csv", sold=np.array(["no", "yes"])[TEST["sold"]])
    compare = ("compare", files / "model.json", "-t", "sold", "--json", "-d")
    key = str(files / "model.json")
    expected = json.loads(run(*compare, files / "test.csv").stdout)[key]["roc_auc"]
    assert json.loads(run(*compare, words, "--labels", "no, yes").stdout)[key]["roc_auc"] == expected
    text = refusal(*compare, words, "--labels", "no")
    assert text == "--labels names 1 labels; the model has 2 classes"


@pytest.mark.parametrize("values", [TEST["sold"] == 1, TEST["sold"].astype(float), TEST["sold"].astype(str)])
def test_labels_of_another_type_are_recognised(files, values):
    forest = ec.read(files / "model.json")
    found = cli_files.targets(values, forest, files / "test.csv")
    np.testing.assert_array_equal(TEST["sold"], found)


def test_a_table_needs_pandas_and_parquet_needs_pyarrow(files, monkeypatch):
    predict = ("predict", files / "model.json", "-d")
    with monkeypatch.context() as patch:
        patch.setattr(pd, "read_parquet", lambda path: __import__("no_such_engine"))
        assert "reading Parquet needs pyarrow: pip install" in refusal(*predict, files / "test.parquet")
    monkeypatch.setitem(sys.modules, "pandas", None)
    expected = 'reading and writing tables needs pandas: pip install "ensemble-compress[frames]"'
    assert refusal(*predict, files / "test.csv") == expected


def test_an_output_that_cannot_be_written_is_refused_before_the_work(files, tmp_path):
    compress = ("compress", files / "model.json", "-d", tmp_path / "not even there.csv", "-t", "sold", "-o")
    assert "expected a name that ends in .forest, .h, .c" in refusal(*compress, tmp_path / "model.exe")
    assert "does not exist; make it first" in refusal(*compress, tmp_path / "folder" / "model.h")
    (tmp_path / "folder.h").mkdir()
    assert "is a folder; expected the name of a file" in refusal(*compress, tmp_path / "folder.h")
    assert "expected a C identifier" in refusal(*compress, tmp_path / "model.h", "--name", "int")
    library = (*compress, tmp_path / "model.so", "--target", "cortex-m4")
    assert "a shared library (.so) for cortex-m4 cannot be written" in refusal(*library)


def test_a_weight_that_is_no_number_or_the_target_itself_is_refused(files, tmp_path):
    TRAIN.assign(trust="much").to_csv(tmp_path / "rows.csv", index=False)
    compress = (
        "compress",
        files / "model.json",
        "-d",
        tmp_path / "rows.csv",
        "-t",
        "sold",
        "--weight-column",
    )
    assert "cannot be both the target and the weight; name two columns" in refusal(*compress, "sold")
    assert "holds 'much'; expected numbers" in refusal(*compress, "trust")


def test_predictions_leave_a_target_with_gaps_out(files, tmp_path):
    TEST.assign(sold=TEST["sold"].where(TEST["age"] > 0)).to_csv(tmp_path / "gaps.csv", index=False)
    expected = run("predict", files / "model.json", "-d", files / "test.csv", "-t", "sold").stdout
    assert expected == run("predict", files / "model.json", "-d", tmp_path / "gaps.csv", "-t", "sold").stdout


def test_debug_shows_the_traceback(files, monkeypatch):
    with pytest.raises(ec.errors.ModelFileError):
        run("--debug", "inspect", files / "none.json")
    assert "no such model file" in refusal("inspect", files / "none.json")  # the next call does not remember
    monkeypatch.setenv("EC_DEBUG", "1")
    with pytest.raises(ec.errors.ModelFileError):
        run("inspect", files / "none.json")


# -- steps ----------------------------------------------------------------------------------------------------


def test_steps_are_read_as_they_are_written_in_python():
    expected = [ec.algorithms.Simplify(), ec.algorithms.QuantizeLeaves(bits=8)]
    assert cli_steps.parse_steps("Simplify, QuantizeLeaves(bits=8)") == expected
    assert cli_steps.parse_steps("lossless") == "lossless"


@pytest.mark.parametrize(
    "text",
    [
        "Simplify(",
        "Shrink()",
        "__import__('os').getcwd()",
        "Simplify(print(1))",
        "QuantizeLeaves(bits=print())",
        "QuantizeLeaves(bites=8)",
        "Simplify() for x in y",
        "",
    ],
)
def test_steps_that_are_none_are_refused_and_nothing_runs(text, capsys):
    with pytest.raises(ec.errors.ParameterError, match=r"cannot be read .*known are .*Simplify"):
        cli_steps.parse_steps(text)
    assert capsys.readouterr().out == ""


# -- compress and export --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(files):
    """A compressed model, its header and its library, made by the command line from a table and a model file."""
    outputs = [files / name for name in ("small.forest", "small.h", "small.so")]
    flags = [flag for path in outputs for flag in ("-o", path)]
    return run("compress", files / "model.json", "-d", files / "train.csv", "-t", "sold", *flags)


def test_compress_prints_a_report_and_says_what_it_wrote(files, small):
    assert re.search(r"^C tables +[\d,]+ +[\d,]+ ", small.stdout, re.MULTILINE)
    assert re.search(r"^accuracy +0\.\d+ +0\.\d+ ", small.stdout, re.MULTILINE)
    assert re.search(r"^chosen +[\d,]+ +0\.\d+ ", small.stdout, re.MULTILINE)
    for name in ("small.forest", "small.h", "small.so"):
        assert f"wrote {files / name}, {(files / name).stat().st_size:,} bytes" in small.stderr


def test_what_was_written_answers_alike(files, small):
    model = ec.load(files / "small.forest")
    expected = model.predict(X_TEST)
    out = run("predict", files / "small.forest", "-d", files / "test.csv").stdout
    np.testing.assert_array_equal(expected, pd.read_csv(io.StringIO(out))["prediction"])
    assert "int model_predict(const model_input_t *row)" in (files / "small.h").read_text()


def test_inspect_shows_how_a_model_was_compressed(files, small):
    assert "How it was compressed" in run("inspect", files / "small.forest").stdout
    facts = json.loads(run("inspect", files / "small.forest", "--json").stdout)
    assert facts["report"]["student"]["bytes"]["c_tables"] == facts["Bytes"]["c_tables"]


def test_a_budget_that_nothing_can_meet_is_exit_code_1(files):
    compress = ("compress", files / "model.json", "-d", files / "train.csv", "-t", "sold")
    assert "1" in refusal(*compress, "--max-bytes", 1, exit_code=1)


def test_compress_takes_steps_validation_and_json(files):
    result = run(
        *("compress", files / "model.txt", "-d", files / "train.csv", "-t", "sold", "--json"),
        *(
            "--validation",
            files / "test.csv",
            "--steps",
            "Simplify(), QuantizeLeaves(bits=8)",
            "--tolerance",
            0.02,
        ),
    )
    report = json.loads(result.stdout)
    assert report["reference"] == "held-out rows"
    assert report["tolerance"] == 0.02


def test_a_wrong_parameter_of_compress_is_exit_code_2(files):
    compress = ("compress", files / "model.json", "-d", files / "train.csv", "-t", "sold")
    assert "target" in refusal(*compress, "--target", "abacus")
    assert "scor" in refusal(*compress, "--scoring", "beauty")


def test_export_changes_the_form_and_no_answer(files, tmp_path):
    run("export", files / "model.txt", "-o", tmp_path / "model.h", "--name", "door", "--verify")
    assert "int door_predict(const door_input_t *row)" in (tmp_path / "model.h").read_text()
    run("export", files / "model.txt", "-o", tmp_path / "packed.forest")
    packed = ec.load(tmp_path / "packed.forest").forest
    expected = ec.read(files / "model.txt").margin(X_TEST.to_numpy())
    np.testing.assert_array_equal(expected, packed.margin(X_TEST.to_numpy()))


def test_an_export_that_takes_minutes_says_so_in_one_line(files, tmp_path, monkeypatch):
    monkeypatch.setattr("ensemble_compress.writers.treelite.MANY_NODES", 2)
    lines = run("export", files / "nameless.txt", "-o", tmp_path / "model.treelite.so").stderr.splitlines()
    warned = [line for line in lines if "warning" in line.lower()]
    assert len(warned) == 1
    assert re.fullmatch(
        r"warning: TL2cgen writes each of \d+ nodes .* Export \"model\.so\" instead .*", warned[0]
    )


def test_a_missing_compiler_is_exit_code_1(files, tmp_path, monkeypatch):
    hide_the_compilers(monkeypatch)
    text = refusal("export", files / "model.txt", "-o", tmp_path / "model.so", exit_code=1)
    assert "no C compiler found" in text
    assert 'pip install "ensemble-compress[cross]"' in text
    assert list(tmp_path.iterdir()) == []


def hide_the_compilers(monkeypatch):
    monkeypatch.setenv("CC", "")
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)


# -- pipes ----------------------------------------------------------------------------------------------------


def test_a_pipe_gets_plain_text_and_no_progress(files):
    done = start(
        "compress", files / "model.json", "-d", files / "train.csv", "-t", "sold", TERM="xterm-256color"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_an_error_in_a_process_of_its_own_has_no_traceback(files):
    done = start("inspect", files / "none.json")
    assert done.returncode == 2
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert "Traceback" in start("inspect", files / "none.json", EC_DEBUG="1").stderr
