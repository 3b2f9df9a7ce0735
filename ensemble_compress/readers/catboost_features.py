"""The features of a CatBoost export, and what its splits ask of them.

Numbers are compared as float32. A missing value is -inf where the feature had missing values in training and
`nan_mode` was Min, inf where it was Max; where it had none, it compares as not greater, whatever the mode. So it goes
left but for Max.

A category is known by a hash of its text, and 3 and "3" are the same category. The hashes are turned back where that
is certain: whole numbers from 0 are, whatever the export, and are their own codes; texts only where the export lists them,
as it does when it is saved with `pool=`, and get codes in that order. A Forest has no hash for what it meets, so that a
category that was never seen, and has the hash of one that was (one in 2^32), is an unseen one to it.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble_compress.errors import UnsupportedModelError, in_short
from ensemble_compress.readers.document import Section

NAN_LEFT = {"AsIs": True, "AsFalse": True, "AsTrue": False}
LARGEST_CODE = (1 << 14) - 1
"""Whole numbers beyond it are read as texts. Each further one makes it likelier that a text's hash is taken for it."""
MAX_LEVELS = 1 << 21
FEW_LEVELS = 256
"""Columns of so many whole numbers get just the levels that they need, those of more a power of two."""
NO_LEVEL = ("",)
"""The levels of a categorical feature that no split asks for: whatever the column of a DataFrame holds, it has a place."""

SHORT, LAST, PAIR = 0x9AE16A3B2F90404F, 0xC949D7C7509E6557, 0x9DDFEA08EB382D69
"""CityHash's odd factors."""


class SplitTest(NamedTuple):
    """One question: a column, and a threshold or the codes that go left."""

    feature: int
    threshold: float
    nan_left: bool
    codes: list[int] | None


class Numeric(NamedTuple):
    """A numeric feature: its column, the thresholds that splits may name, where missing values go."""

    column: int
    borders: frozenset[float]
    nan_left: bool


class Categorical(NamedTuple):
    """A categorical feature: its column, the codes behind each hash, the levels of a DataFrame's column."""

    column: int
    codes: dict[int, list[int]]
    levels: tuple[Any, ...]


class Features(NamedTuple):
    """All features of a model, by their numbers among those of their kind."""

    n_features: int
    names: tuple[str, ...] | None
    numeric: dict[int, Numeric]
    categorical: dict[int, Categorical]

    @property
    def categories(self) -> tuple[tuple[Any, ...] | None, ...] | None:
        """For each column the levels behind its codes, None where it holds numbers."""
        levels: list[tuple[Any, ...] | None] = [None] * self.n_features
        for feature in self.categorical.values():
            levels[feature.column] = feature.levels
        return tuple(levels) if self.categorical else None

    def read_test(self, split: Section) -> SplitTest:
        """What a split asks.

        Parameters
        ----------
        split : Section
            The split of a node or a level.
        """
        kind = split.text("split_type")
        if kind == "FloatFeature":
            return self._numeric_test(split)
        if kind == "OneHotFeature":
            return self._category_test(split)
        raise UnsupportedModelError(
            f"{split.where}: a split of the type {kind[:40]!r} cannot be read: {_advice(kind)}"
        )

    def _numeric_test(self, split: Section) -> SplitTest:
        f, border = split.count("float_feature_index"), split.values.get("border")
        if f not in self.numeric:
            raise split.error(f"float_feature_index is {f}; there are {len(self.numeric)} numeric features")
        if not isinstance(border, (int, float)) or border not in self.numeric[f].borders:
            raise split.error(f"border is {in_short(border)}, which is none of those of feature {f}")
        with np.errstate(over="ignore"):
            threshold = float(np.float32(border))
        return SplitTest(self.numeric[f].column, threshold, self.numeric[f].nan_left, None)

    def _category_test(self, split: Section) -> SplitTest:
        f, code = split.count("cat_feature_index"), split.values.get("value")
        if f not in self.categorical:
            raise split.error(
                f"cat_feature_index is {f}; there are {len(self.categorical)} categorical features"
            )
        if not isinstance(code, int) or code % 2**32 not in self.categorical[f].codes:
            raise split.error(f"value is {in_short(code)}, which is none of those of feature {f}")
        return SplitTest(self.categorical[f].column, 0.0, False, self.categorical[f].codes[code % 2**32])


def _advice(kind: str) -> str:
    if kind == "OnlineCtr":
        return (
            "it compares a statistic of the target for a category (CTR), which is no set of categories; fit with"
            " one_hot_max_size above the number of categories, or encode them as numbers"
        )
    return "it compares a number made of text or embeddings; train on numbers made of them"


def read_features(section: Section) -> Features:
    """The features that `features_info` describes.

    Parameters
    ----------
    section : Section
        That part of the export.
    """
    for kind in ("text_features", "embedding_features"):
        if section.values.get(kind):
            raise UnsupportedModelError(
                f"{section.where}: {kind.replace('_', ' ')} cannot be read; train on numbers made of them"
            )
    numbers = section.sections("float_features") if "float_features" in section else []
    categories = section.sections("categorical_features") if "categorical_features" in section else []
    names = _names_of(section, numbers + categories)
    numeric = {_number_of(feature, f): _read_numeric(feature) for f, feature in enumerate(numbers)}
    texts = _texts_of(section) if categories else {}
    n_levels, categorical = 0, {}
    for f, feature in enumerate(categories):
        found = _read_categorical(feature, texts, has_names=names is not None)
        n_levels += len(found.levels)
        if n_levels > MAX_LEVELS:
            raise UnsupportedModelError(
                f"{feature.where}: more than {MAX_LEVELS:,} categories cannot be read"
            )
        categorical[_number_of(feature, f)] = found
    return Features(len(numbers) + len(categories), names, numeric, categorical)


def _number_of(feature: Section, expected: int) -> int:
    if feature.count("feature_index") != expected:
        raise feature.error(f"feature_index is {feature.count('feature_index')}; expected {expected}")
    return expected


def _names_of(section: Section, features: list[Section]) -> tuple[str, ...] | None:
    """The names of the columns, None where there are none; every column has to have its feature."""
    columns = [feature.count("flat_feature_index") for feature in features]
    if sorted(columns) != list(range(len(columns))):
        raise section.error(f"flat_feature_index counts {len(columns)} features otherwise than from 0")
    names = [""] * len(columns)
    for column, feature in zip(columns, features, strict=True):
        names[column] = feature.text("feature_id") if "feature_id" in feature else ""
    return tuple(names) if any(names) else None


def _read_numeric(feature: Section) -> Numeric:
    borders = feature.values.get("borders") or []
    allowed = Section({"borders": borders}, feature.where).numbers("borders", np.float64)
    treatment = feature.text("nan_value_treatment")
    if treatment not in NAN_LEFT:
        raise feature.error(
            f"nan_value_treatment is {treatment[:40]!r}; expected one of {', '.join(NAN_LEFT)}"
        )
    nan_left = NAN_LEFT[treatment] or not feature.values.get("has_nans", False)
    return Numeric(feature.count("flat_feature_index"), frozenset(allowed.tolist()), nan_left)


# -- categories --------------------------------------------------------------------------------------------------


def _texts_of(section: Section) -> dict[int, str]:
    """The text behind each hash that the export lists."""
    if not section.values.get("cat_features_hash"):
        return {}
    return {entry.count("hash"): entry.text("value") for entry in section.sections("cat_features_hash")}


def _read_categorical(feature: Section, texts: dict[int, str], has_names: bool) -> Categorical:
    values = Section({"values": feature.values.get("values") or []}, feature.where).numbers(
        "values", np.int64
    )
    hashes = (values % 2**32).tolist()
    column = feature.count("flat_feature_index")
    if not hashes:
        return Categorical(column, {}, NO_LEVEL)
    numbers = {h: _whole_numbers(h) for h in hashes}
    if all(numbers[h] and texts.get(h, str(numbers[h][0])) in map(str, numbers[h]) for h in hashes):
        largest = max(max(found) for found in numbers.values())
        return Categorical(column, numbers, _levels_up_to(largest))
    unknown = [h for h in hashes if h not in texts]
    if unknown:
        raise UnsupportedModelError(
            f"{feature.where}: it splits on {len(unknown)} categories that are only known by a hash, and are no whole"
            f" numbers from 0 to {LARGEST_CODE}; save the model together with its categories,"
            " save_model('model.json', format='json', pool=X), and read that file, or recode them as whole numbers from 0"
        )
    if not has_names and any(_is_whole(texts[h]) for h in hashes):
        raise UnsupportedModelError(
            f"{feature.where}: it was trained on an array whose categories are not all whole numbers from 0 to"
            f" {LARGEST_CODE}, so an array would not say which are meant; recode them, or train on a DataFrame"
        )
    return Categorical(column, {h: [code] for code, h in enumerate(hashes)}, tuple(texts[h] for h in hashes))


def _is_whole(text: str) -> bool:
    return text.isascii() and text.lstrip("-").isdigit() and len(text) < 19 and str(int(text)) == text


def _whole_numbers(text_hash: int) -> list[int]:
    """The whole numbers from 0 to `LARGEST_CODE` whose text has this hash."""
    order, hashes = _hashes_of_numbers()
    start, stop = np.searchsorted(hashes, [text_hash, text_hash + 1])
    return [int(number) for number in order[start:stop]]


def _levels_up_to(largest: int) -> tuple[str, ...]:
    """The texts of the whole numbers from 0 to a bit above `largest`: few tuples for all columns of all models.

    A hash of ten digits can name a category far out, so that tuples of its own for each column would take a
    thousand times the space of the file. A level that no split names goes where an unseen one does.
    """
    return _texts_of_numbers(largest + 1 if largest < FEW_LEVELS else 1 << largest.bit_length())


@cache
def _texts_of_numbers(n: int) -> tuple[str, ...]:
    return tuple(map(str, range(n))) if n > LARGEST_CODE else _texts_of_numbers(LARGEST_CODE + 1)[:n]


@cache
def _hashes_of_numbers() -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
    """(whole numbers in the order of their hashes, the hashes)."""
    texts: Iterable[bytes] = (str(number).encode() for number in range(LARGEST_CODE + 1))
    hashes = np.array([hash_of_text(text) for text in texts], np.uint64)
    order = np.argsort(hashes, kind="stable")
    return order, hashes[order]


def hash_of_text(text: bytes) -> int:
    """CatBoost's hash of a category of one to eight bytes: the low half of CityHash64, version 1.

    Parameters
    ----------
    text : bytes
        The category as text.

    Examples
    --------
    >>> hash_of_text(b"0")
    2856682258
    """
    n = len(text)
    if n < 4:
        first = text[0] + (text[n >> 1] << 8)
        last = n + (text[-1] << 2)
        mixed = _fold(_low64(first * SHORT) ^ _low64(last * LAST))
        return _low64(mixed * SHORT) % 2**32
    head, tail = (int.from_bytes(part, "little") for part in (text[:4], text[-4:]))
    return _pair(n + (head << 3), tail) % 2**32


def _pair(a: int, b: int) -> int:
    """One number of 64 bits from two."""
    mixed = _fold(_low64((a ^ b) * PAIR))
    return _low64(_fold(_low64((b ^ mixed) * PAIR)) * PAIR)


def _fold(number: int) -> int:
    return number ^ number >> 47


def _low64(number: int) -> int:
    return number % 2**64
