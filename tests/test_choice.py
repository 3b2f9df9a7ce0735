"""The choice among candidates, on verdicts that are written down here."""

import numpy as np
import pytest

from ensemble_compress.choice import (
    Outlook,
    Verdict,
    best_that_fits,
    promising_ways,
    smoothed,
    within_tolerance,
)
from ensemble_compress.paths import STEPS, Key


def nodes(size: int) -> Key:
    return Key("nodes", size, "8 bits")


def test_a_lucky_small_model_is_pooled_with_its_neighbour() -> None:
    verdicts = {nodes(30): Verdict(0.0, 1.0, 0.0), nodes(20): Verdict(0.04, 0.96, 0.0), nodes(10): Verdict(0.0, 1.0, 0.0)}  # fmt: skip
    found = {key.size: verdict.smooth_drop for key, verdict in smoothed(verdicts).items()}
    assert found == pytest.approx({30: 0.0, 20: 0.02, 10: 0.02})
    assert {key: v.drop for key, v in smoothed(verdicts).items()} == {k: v.drop for k, v in verdicts.items()}


def test_drops_never_fall_as_models_of_a_kind_get_smaller() -> None:
    generator = np.random.default_rng(0)
    verdicts = {nodes(size): Verdict(float(generator.normal()), 0.0, 0.0) for size in range(50)}
    found = smoothed(verdicts)
    drops = [found[nodes(size)].smooth_drop for size in range(49, -1, -1)]
    assert drops == sorted(drops)
    assert np.mean(drops) == pytest.approx(np.mean([verdict.drop for verdict in verdicts.values()]))


def test_kinds_are_smoothed_apart() -> None:
    other = Key("nodes", 5, "4 bits")
    found = smoothed({nodes(10): Verdict(0.5, 0.0, 0.0), other: Verdict(0.1, 0.0, 0.0)})
    assert (found[nodes(10)].smooth_drop, found[other].smooth_drop) == (0.5, 0.1)


def test_a_step_of_a_list_may_mend_what_the_one_before_it_broke() -> None:
    first, second = Key(STEPS, 1, ""), Key(STEPS, 0, "")
    found = smoothed({first: Verdict(0.3, 0.6, 0.0), second: Verdict(0.0, 0.9, 0.0)})
    assert (found[first].smooth_drop, found[second].smooth_drop) == (0.3, 0.0)


def test_the_smallest_within_the_tolerance_comes_first() -> None:
    verdicts = {nodes(n): Verdict(drop, 0.0, 0.0, drop) for n, drop in ((30, 0.0), (20, 0.01), (10, 0.02))}
    sizes = {nodes(30): 300, nodes(20): 200, nodes(10): 100}
    assert within_tolerance(verdicts, sizes, 0.01, None) == [nodes(20), nodes(30)]
    assert within_tolerance(verdicts, sizes, -1.0, None) == []


def test_with_confidence_the_error_counts_and_the_first_failure_ends_it() -> None:
    verdicts = {
        nodes(40): Verdict(0.0, 0.0, 0.001),
        nodes(30): Verdict(0.005, 0.0, 0.001),
        nodes(20): Verdict(0.009, 0.0, 0.002),
        nodes(10): Verdict(0.0, 0.0, 0.0),
    }
    sizes = {key: 10 * key.size for key in verdicts}
    # 0.009 + 1.645 * 0.002 is above 0.01, and what is smaller is not looked at, although it would pass.
    assert within_tolerance(verdicts, sizes, 0.01, 0.95) == [nodes(30), nodes(40)]
    assert within_tolerance(verdicts, sizes, 0.01, 0.5) == [nodes(10), nodes(20), nodes(30), nodes(40)]


def test_an_unknown_error_is_no_evidence() -> None:
    verdicts = {nodes(10): Verdict(0.0, 0.0, float("nan")), nodes(5): Verdict(0.0, 0.0, float("inf"))}
    assert within_tolerance(verdicts, {nodes(10): 2, nodes(5): 1}, 0.1, 0.95) == []


def test_a_budget_takes_the_best_that_fits_and_the_smaller_among_equals() -> None:
    verdicts = {
        nodes(n): Verdict(drop, 0.0, 0.0, drop) for n, drop in ((30, 0.0), (20, 0.01), (10, 0.01), (5, 0.3))
    }
    sizes = {nodes(30): 300, nodes(20): 200, nodes(10): 100, nodes(5): 50}
    assert best_that_fits(verdicts, sizes, 299) == nodes(10)
    assert best_that_fits(verdicts, sizes, 300) == nodes(30)
    assert best_that_fits(verdicts, sizes, 50) == nodes(5)
    assert best_that_fits(verdicts, sizes, 49) is None


def test_a_way_is_hopeless_when_its_two_smallest_have_surely_lost_twice_what_is_allowed() -> None:
    outlook = Outlook(0.01)
    outlook.note(nodes(10), 0.05, 0.009)
    assert not outlook.is_hopeless("nodes")
    outlook.note(nodes(8), 0.06, 0.009)
    assert outlook.is_hopeless("nodes")
    assert not outlook.is_hopeless("trees")


def test_a_way_is_not_hopeless_while_one_finish_of_a_size_may_do() -> None:
    outlook = Outlook(0.01)
    for size in (10, 8):
        outlook.note(nodes(size), 0.5, 0.0)
    outlook.note(Key("nodes", 8, "5 bits"), 0.05, 0.02)
    assert not outlook.is_hopeless("nodes")


def test_where_a_budget_decides_every_size_may_be_wanted() -> None:
    outlook = Outlook(None)
    for size in (10, 8):
        outlook.note(nodes(size), 0.5, float("nan"))
    assert not outlook.is_hopeless("nodes")


def grown(size: int) -> Key:
    return Key("grown", size, "8 bits")


def test_a_rising_way_ends_where_its_largest_size_is_out_of_reach() -> None:
    """The loss falls by a hundredth for each four times as many leaves: 16 times as many are not enough, 1024 times are."""
    for largest, is_over in ((16_384, True), (1_048_576, False)):
        outlook = Outlook(0.005, None, largest)
        for step in range(7):
            assert not outlook.is_over("grown")
            outlook.note(grown(round(256 * 4 ** (step / 6))), 0.06 - 0.01 * step / 6, 0.0, 0)
        assert outlook.is_over("grown") == is_over


def test_a_rising_way_of_no_known_end_goes_on() -> None:
    outlook = Outlook(0.005, None)
    for step in range(20):
        outlook.note(grown(100 + step), 0.5, 0.0, 0)
    assert not outlook.is_over("grown")


def test_a_way_is_promising_where_one_of_its_models_may_lose_as_little() -> None:
    verdicts = {nodes(9): Verdict(0.02, 0.9, 0.0, 0.004), nodes(8): Verdict(0.5, 0.4, 0.0, 0.5), grown(4): Verdict(0.2, 0.7, 0.0, 0.2)}  # fmt: skip
    assert promising_ways(verdicts, 0.005) == {"nodes"}
    assert promising_ways(verdicts, 0.3) == {"nodes", "grown"}
