"""The choice among candidates, on verdicts that are written down here."""

import numpy as np
import pytest

from ensemble_compress.choice import (
    CAUTION,
    ENOUGH_SIZES,
    Outlook,
    Verdict,
    best_that_fits,
    choose,
    smoothed,
    within_tolerance,
    worth_making,
)
from ensemble_compress.paths import GROWN, STEPS, Key


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


def grown(size: int) -> Key:
    return Key(GROWN, size, "8 bits")


def test_a_way_that_falls_is_over_when_its_last_two_sizes_have_surely_lost_twice_what_is_allowed() -> None:
    outlook = Outlook(0.01, None)
    outlook.note(nodes(10), 0.05, 0.009, 0)
    assert not outlook.is_over("nodes")
    outlook.note(nodes(8), 0.06, 0.009, 0)
    assert outlook.is_over("nodes")
    assert not outlook.is_over("trees")


def test_a_way_is_not_over_while_one_finish_of_a_size_may_do() -> None:
    outlook = Outlook(0.01, None)
    for size in (10, 8):
        outlook.note(nodes(size), 0.5, 0.0, 0)
    outlook.note(Key("nodes", 8, "5 bits"), 0.05, 0.02, 0)
    assert not outlook.is_over("nodes")


def test_a_way_that_rises_is_over_when_its_last_few_sizes_might_all_be_taken() -> None:
    outlook = Outlook(0.01, None)
    for size, drop, error in (
        (4, 0.5, 0),
        (5, 0.001, 0.002),
        (6, 0.011, 0),
        (8, 0.0095, 0.002),
        (9, 0.008, 0.004),
    ):
        outlook.note(grown(size), drop, error, 0)
    for size in (10, 12):
        outlook.note(grown(size), 0.001, 0.002, 0)
        assert not outlook.is_over(GROWN)
    outlook.note(grown(14), 0.011, 0.001, 0)
    assert not outlook.is_over(GROWN)
    for size in range(15, 15 + ENOUGH_SIZES):
        assert not outlook.is_over(GROWN)
        outlook.note(grown(size), 0.005, 0.0099, 0)
    assert outlook.is_over(GROWN)


def test_for_a_promise_they_have_to_be_sure() -> None:
    for confidence, factor in ((0.8, 3.0), (0.9999, 3.719)):
        for error, is_over in ((0.999, True), (1.001, False)):
            outlook = Outlook(0.01, None, confidence=confidence)
            for size in range(2, 2 + ENOUGH_SIZES):
                outlook.note(grown(size), 0.0, error * 0.01 / factor, 0)
            assert outlook.is_over(GROWN) is is_over


def test_one_finish_that_is_good_enough_will_do_where_a_way_rises() -> None:
    outlook = Outlook(0.01, None)
    for size in range(2, 2 + ENOUGH_SIZES):
        outlook.note(grown(size), 0.0, 0.0, 0)
        outlook.note(Key(GROWN, size, "5 bits"), 0.5, 0.0, 0)
    assert outlook.is_over(GROWN)


def test_where_a_budget_decides_every_size_that_may_fit_is_wanted() -> None:
    outlook = Outlook(None, 100)
    for way in (nodes, grown):
        for size in (10, 8):
            outlook.note(way(size), 0.5, float("nan"), 150)
        assert not outlook.is_over(way(1).way)


def test_a_way_that_rises_is_over_when_its_last_two_sizes_are_far_beyond_the_budget_in_every_finish() -> None:
    outlook = Outlook(None, 100)
    for size in (10, 12):
        outlook.note(grown(size), 0.0, 0.0, 151)
        outlook.note(nodes(size), 0.0, 0.0, 151)
    assert outlook.is_over(GROWN)
    assert not outlook.is_over("nodes")
    outlook.note(Key(GROWN, 12, "5 bits"), 0.0, 0.0, 150)
    assert not outlook.is_over(GROWN)


def test_an_error_that_is_not_known_counts_as_none() -> None:
    outlook = Outlook(0.01, None)
    for size in (10, 8):
        outlook.note(nodes(size), 0.021, float("nan"), 0)
    assert outlook.is_over("nodes")


def test_an_estimate_is_raised_by_a_share_of_its_error() -> None:
    verdicts = {nodes(10): Verdict(0.0, 0.0, 0.01, 0.005), nodes(5): Verdict(0.0, 0.0, float("nan"), 0.005)}
    sizes = {nodes(10): 2, nodes(5): 1}
    edge = 0.005 + CAUTION * 0.01
    assert within_tolerance(verdicts, sizes, edge, None) == [nodes(5), nodes(10)]
    assert within_tolerance(verdicts, sizes, edge - 1e-6, None) == [nodes(5)]


LOSSLESS = Key("lossless", 0, "")


def test_the_choice_is_the_smallest_within_the_tolerance_or_the_best_within_the_budget() -> None:
    verdicts = {nodes(n): Verdict(drop, 0.0, 0.0, drop) for n, drop in ((30, 0.0), (20, 0.01), (10, 0.02))}
    verdicts[LOSSLESS] = Verdict(0.0, 0.0, 0.0)
    sizes = {key: 10 * key.size for key in verdicts} | {LOSSLESS: 1000}
    assert choose(verdicts, sizes, LOSSLESS, 0.01, None, None) == (nodes(20), "")
    assert choose(verdicts, sizes, LOSSLESS, -1.0, None, None) == (LOSSLESS, "")
    assert choose(verdicts, sizes, LOSSLESS, None, 250, None) == (nodes(20), "")
    assert choose(verdicts, sizes, LOSSLESS, None, 50, None) == (nodes(10), "the smallest model found")
    assert choose(verdicts, sizes, LOSSLESS, 0.01, 150, None) == (nodes(20), "the smallest model within the tolerance")  # fmt: skip


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


def test_the_kinds_of_which_one_may_be_taken_are_made() -> None:
    drops = {nodes(12): 0.001, nodes(9): 0.004, nodes(8): 0.5, grown(4): 0.2, grown(6): 0.2}
    verdicts = {key: Verdict(drop, 1 - drop, 0.0, drop) for key, drop in drops.items()}
    other = Key("nodes", 12, "5 bits")
    verdicts[other] = Verdict(0.004, 0.996, 0.0, 0.004)
    assert worth_making(verdicts, 0.005) == {nodes(12), nodes(9), nodes(8), other}
    assert worth_making(verdicts, 0.3) == set(drops) | {other}
    assert worth_making({nodes(9): Verdict(0.004, 1.0, 0.01, 0.004)}, 0.004 + CAUTION * 0.01) == {nodes(9)}
    assert not worth_making({nodes(9): Verdict(0.004, 1.0, 0.01, 0.004)}, 0.003 + CAUTION * 0.01)


def test_a_size_is_hopeless_once_one_finish_has_surely_lost_twice_what_is_allowed() -> None:
    outlook = Outlook(0.01, None)
    five = Key("nodes", 8, "5 bits")
    assert not outlook.is_hopeless(five)
    outlook.note(nodes(8), 0.05, 0.0101, 0)
    assert not outlook.is_hopeless(five)
    outlook.note(Key("nodes", 8, "as it is"), 0.05, 0.009, 0)
    assert not outlook.is_hopeless(five)
    outlook = Outlook(0.01, None)
    outlook.note(nodes(8), 0.05, 0.009, 0)
    assert outlook.is_hopeless(five)
    assert not outlook.is_hopeless(nodes(9))
    for other in (Outlook(None, 100), Outlook(0.01, None, confidence=0.95)):
        other.note(nodes(8), 0.5, 0.0, 50)
        assert not other.is_hopeless(five)
    unknown = Outlook(0.01, None)
    unknown.note(nodes(8), 0.5, float("nan"), 0)
    assert not unknown.is_hopeless(five)
