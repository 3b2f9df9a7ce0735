"""Which candidate to take: the smallest that loses no more than the tolerance, or the best that fits the budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from sklearn.isotonic import IsotonicRegression

from ensemble_compress.paths import RISING, STEPS, Key

ENOUGH_SIZES = 4
"""So many sizes of a rising way that may be taken, one after the other, are enough to choose among."""

SLOPE_SIZES = 6
"""Steps between two sizes that tell how fast a loss falls: the larger size is four times the smaller one."""

SMALLEST_GIVEN_UP = 64
"""How the losses of smaller students fall says nothing of larger ones."""

CAUTION = 0.5
"""Standard errors that an estimated loss is raised by before it is compared with the tolerance."""


@dataclass(frozen=True)
class Verdict:
    """What the rounds said of one candidate.

    Attributes
    ----------
    drop : float
        Mean loss of score against the teacher, over the rounds.
    score : float
        Mean score.
    error : float
        Standard error of `drop`.
    smooth_drop : float
        `drop` after smoothing along the path.
    """

    drop: float
    score: float
    error: float
    smooth_drop: float = 0.0


class Outlook:
    """Which ways of making candidates need not be followed any further.

    Parameters
    ----------
    allowed : float, optional
        Largest loss of score; None where a budget decides, for which every size that fits may be wanted.
    max_bytes : int, optional
        The budget.
    largest : int, optional
        The largest size of a way whose sizes rise.
    confidence : float, optional
        As in `within_tolerance`.
    """

    def __init__(
        self,
        allowed: float | None,
        max_bytes: int | None,
        largest: int | None = None,
        confidence: float | None = None,
    ) -> None:
        self.allowed, self.max_bytes, self.largest = allowed, max_bytes, largest
        self._is_promised = confidence is not None
        # By way and size: what was surely lost, by candidates whose error is known.
        self._surest: dict[tuple[str, int], float] = {}
        # A promise must not rest on which sizes happened to be tried.
        self._caution = CAUTION if confidence is None else max(3.0, float(norm.ppf(confidence)))
        # Of each size the finish that did best counts.
        self._least: dict[str, dict[int, float]] = {}
        self._most: dict[str, dict[int, float]] = {}
        self._bytes: dict[str, dict[int, float]] = {}

    def note(self, key: Key, drop: float, error: float, n_bytes: int) -> None:
        """A candidate of so many bytes lost `drop`, give or take a few times `error`."""
        for known, value in (
            (self._least, drop - 3 * _known(error)),
            (self._most, drop + self._caution * _known(error)),
            (self._bytes, n_bytes),
        ):
            of_way = known.setdefault(key.way, {})
            of_way[key.size] = min(of_way.get(key.size, value), value)
        if np.isfinite(error):
            place = key.way, key.size
            self._surest[place] = min(self._surest.get(place, np.inf), drop - 3 * error)

    def is_hopeless(self, key: Key) -> bool:
        """Whether that size has surely lost twice what is allowed already: no finish of its leaves can make up for it.

        Parameters
        ----------
        key : Key
            Another finish of a size.
        """
        # Where a promise is made nothing is left out of the sequence of tests.
        if self.allowed is None or self._is_promised:
            return False
        return self._surest.get((key.way, key.size), -np.inf) > 2 * self.allowed

    def is_over(self, way: str) -> bool:
        """Whether no further size of the way can be wanted, however it is finished.

        A way that falls is over where its last two sizes have surely lost twice what is allowed; one that rises, where
        its last few might all be taken, or its last two take more than one and a half times the budget.
        """
        sizes = list(self._least.get(way, ()))[-2:]
        if len(sizes) < 2:
            return False
        too_large = np.inf if self.max_bytes is None else 1.5 * self.max_bytes
        if way in RISING and all(self._bytes[way][size] > too_large for size in sizes):
            return True
        if self.allowed is None:
            return False
        if way in RISING:
            most = list(self._most[way].values())[-ENOUGH_SIZES:]
            return (len(most) == ENOUGH_SIZES and max(most) <= self.allowed) or self._is_out_of_reach(way)
        return all(self._least[way][size] > 2 * self.allowed for size in sizes)

    def _is_out_of_reach(self, way: str) -> bool:
        """Whether the loss of a rising way falls so slowly that its largest size would surely lose twice what is allowed.

        It falls with the logarithm of the size, later ever more slowly; here it may go on as fast and half as fast again.
        """
        least = list(self._least[way].items())
        if self.largest is None or self.allowed is None or len(least) <= SLOPE_SIZES:
            return False
        if least[-1][0] < SMALLEST_GIVEN_UP:
            return False
        (before, more), (size, less) = least[-1 - SLOPE_SIZES], least[-1]
        left = np.log(max(self.largest, size) / size) / np.log(size / before)
        return bool(less - 1.5 * max(more - less, 0.0) * left > 2 * self.allowed)


def worth_making(verdicts: Mapping[Key, Verdict], allowed: float) -> set[Key]:
    """The candidates of those kinds, a way and a finish, of which one may be taken; the steps of a list are of one kind.

    Parameters
    ----------
    verdicts : mapping
        By key, smoothed.
    allowed : float
        The loss.
    """
    kinds = {
        (key.way, key.finish)
        for key, said in verdicts.items()
        if said.smooth_drop + CAUTION * _known(said.error) <= allowed
    }
    return {key for key in verdicts if (key.way, key.finish) in kinds}


def smoothed(verdicts: Mapping[Key, Verdict]) -> dict[Key, Verdict]:
    """The verdicts with drops that never fall as a model of one kind gets smaller.

    The smallest of many candidates that pass a test by themselves is a lucky one. Isotonic regression lends each the
    strength of its neighbours: between two sizes the loss can only grow. Steps of a list are left as they are: one
    may mend what the one before it broke.
    """
    out = dict(verdicts)
    for way, finish in dict.fromkeys((key.way, key.finish) for key in verdicts):
        keys = sorted(
            (key for key in verdicts if (key.way, key.finish) == (way, finish)), key=lambda key: -key.size
        )
        drops = [verdicts[key].drop for key in keys]
        smooth = drops if way == STEPS else IsotonicRegression().fit_transform(np.arange(len(keys)), drops)
        for key, value in zip(keys, smooth, strict=True):
            v = verdicts[key]
            out[key] = Verdict(v.drop, v.score, v.error, float(value))
    return out


def within_tolerance(
    verdicts: Mapping[Key, Verdict], sizes: Mapping[Key, int], tolerance: float, confidence: float | None
) -> list[Key]:
    """The candidates that lose no more than `tolerance`, the smallest first.

    Parameters
    ----------
    verdicts : mapping
        By key.
    sizes : mapping
        Bytes by key.
    tolerance : float
        Largest loss of score.
    confidence : float, optional
        None goes by the smoothed estimate and its standard error, because the smallest of many that pass is
        more often a lucky one than an unlucky one; of scores that don't tell their error the estimate alone counts.
        Otherwise candidates are tested from the largest down and the first failure ends it (fixed-sequence testing, Maurer,
        Hothorn and Lehmacher 1995), so that the probability of taking one that loses more is below `1 - confidence`,
        however many were tested.
    """
    if confidence is None:
        passed = [
            key for key, v in verdicts.items() if v.smooth_drop + CAUTION * _known(v.error) <= tolerance
        ]
    else:
        passed = []
        quantile = float(norm.ppf(confidence))
        for key in sorted(verdicts, key=lambda key: -sizes[key]):
            # Written so that an error that is not known, NaN, fails.
            if not verdicts[key].drop + quantile * verdicts[key].error <= tolerance:
                break
            passed.append(key)
    return sorted(passed, key=lambda key: sizes[key])


def _known(error: float) -> float:
    """The error, or nothing where a scorer doesn't tell it."""
    return error if np.isfinite(error) else 0.0


def best_that_fits(verdicts: Mapping[Key, Verdict], sizes: Mapping[Key, int], max_bytes: int) -> Key | None:
    """The candidate of the smallest loss within `max_bytes`; None if none fits.

    Where the smoothed losses are equal the ones before smoothing decide: a budget is there to be used.
    """
    fitting: Sequence[Key] = [key for key in verdicts if sizes[key] <= max_bytes]
    return min(
        fitting, key=lambda key: (verdicts[key].smooth_drop, verdicts[key].drop, sizes[key]), default=None
    )


def choose(
    verdicts: Mapping[Key, Verdict],
    sizes: Mapping[Key, int],
    lossless: Key,
    tolerance: float | None,
    max_bytes: int | None,
    confidence: float | None,
) -> tuple[Key, str]:
    """(the candidate to take, nothing), or (the nearest one, what it is) where none fits the budget.

    Parameters
    ----------
    verdicts : mapping
        By key.
    sizes : mapping
        Bytes by key.
    lossless : Key
        The candidate that meets every tolerance.
    tolerance : float, optional
        Largest loss of score; None where the budget alone decides.
    max_bytes : int, optional
        The budget.
    confidence : float, optional
        As in `within_tolerance`.
    """
    if tolerance is None and max_bytes is not None:
        key = best_that_fits(verdicts, sizes, max_bytes)
        if key is not None:
            return key, ""
        return min(verdicts, key=lambda key: sizes[key]), "the smallest model found"
    passed = within_tolerance(verdicts, sizes, tolerance or 0.0, confidence)
    smallest = min([*passed, lossless], key=lambda key: sizes[key])
    fits = max_bytes is None or sizes[smallest] <= max_bytes
    return smallest, "" if fits else "the smallest model within the tolerance"
