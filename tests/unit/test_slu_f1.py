"""SLU-F1 against hand-worked counts and a plain second implementation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raw2s.evaluation.slu_f1 import f1_of, from_counts, item_counts, slu_f1


def test_a_perfect_answer_scores_one() -> None:
    item = [("date", "next monday"), ("time", "five pm")]
    result = slu_f1([item], [item])
    assert (result.precision, result.recall, result.f1) == (1.0, 1.0, 1.0)
    assert result.counts == (2, 0, 0, 2, 0, 0)


def test_hand_worked_item() -> None:
    gold = [("date", "next monday"), ("time", "five pm")]
    predicted = [("date", "monday"), ("person", "bob")]
    # Word: 1 of 2 gold words missing. Char: 5 of 11 characters missing.
    assert item_counts(gold, predicted) == pytest.approx((1, 1.5, 1.5, 1, 1 + 5 / 11, 1 + 5 / 11))
    wrong = 1.5 + 1 + 5 / 11
    result = slu_f1([gold], [predicted])
    assert result.precision == pytest.approx(2 / (2 + wrong))
    assert result.recall == pytest.approx(2 / (2 + wrong))
    assert result.f1 == pytest.approx(2 / (2 + wrong))


def test_the_order_of_predictions_matters_and_ties_go_to_the_first_gold() -> None:
    gold = [("t", "a b"), ("t", "a c")]
    # "a" is as near to both, takes "a b", and leaves "a b" with "a c": two errors of a half.
    assert item_counts(gold, [("t", "a"), ("t", "a b")])[:3] == (2, 1.0, 1.0)
    assert item_counts(gold, [("t", "a b"), ("t", "a")])[:3] == (2, 0.5, 0.5)


def test_each_metric_matches_by_its_own_distance() -> None:
    counts = item_counts([("t", "ab cd"), ("t", "abcdx")], [("t", "abcdy")])
    # Word: both at distance 1, the first is taken. Char: 2/5 against 1/5, the second is taken.
    assert counts == pytest.approx((1, 1, 2, 1, 0.2, 1.2))


def test_repeated_types_use_up_their_gold() -> None:
    counts = item_counts([("t", "a")], [("t", "a"), ("t", "a")])
    assert counts == (1, 1, 0, 1, 1, 0)


def test_the_word_distance_can_exceed_one() -> None:
    assert item_counts([("t", "a")], [("t", "x y z")])[:3] == (1, 3.0, 3.0)
    assert item_counts([("t", "a")], [("t", "x y z")])[3:] == (1, 1.0, 1.0)


def test_empty_sides() -> None:
    assert item_counts([], []) == (0, 0, 0, 0, 0, 0)
    assert item_counts([("t", "a")], []) == (0, 0, 1, 0, 0, 1)
    assert item_counts([], [("t", "a")]) == (0, 1, 0, 0, 1, 0)
    assert item_counts([("t", "")], [("t", "")]) == (1, 0, 0, 1, 0, 0)
    assert item_counts([("t", "")], [("t", "a b")]) == (1, 2, 2, 1, 1, 1)
    assert slu_f1([[]], [[]]).f1 == 0.0


def test_a_missing_prediction_is_missed_gold_unless_the_evaluator_skips_it() -> None:
    gold = [[("t", "a")], [("t", "b"), ("u", "c")]]
    assert slu_f1(gold, [[("t", "a")], None]).recall == pytest.approx(1 / 3)
    assert slu_f1(gold, [[("t", "a")], None], evaluator=True).recall == 1.0
    # "No slots" is an answer; skipping it would reward it.
    assert slu_f1(gold, [[("t", "a")], []], evaluator=True).recall == pytest.approx(1 / 3)
    assert slu_f1(gold, [None, None], evaluator=True).f1 == 0.0


def test_case_and_spaces_do_not_count() -> None:
    assert slu_f1([[("date", "next monday")]], [[(" Date", "  Next \t MONDAY ")]]).f1 == 1.0


def test_micro_average_is_of_sums_not_of_items() -> None:
    gold = [[("t", "a")], [("t", "a"), ("u", "b"), ("v", "c")]]
    predicted = [[("t", "a")], [("x", "a"), ("y", "b"), ("z", "c")]]
    assert slu_f1(gold, predicted).f1 == pytest.approx(0.25)


def test_bad_input_names_the_place() -> None:
    with pytest.raises(ValueError, match=r"predicted \(shape \(1,\)\) must be \(2,\)"):
        slu_f1([[], []], [[]])
    with pytest.raises(ValueError, match=r"predicted\[1\] \(shape \(1,\)\) is no .* at \(0,\)"):
        slu_f1([[], []], [[], [("t", 3)]])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"shape \(2, 5\)"):
        from_counts(np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"counts .* at \(1, 2\): nan"):
        from_counts([[0.0] * 6, [0, 0, float("nan"), 0, 0, 0]])


def _edit(a: list[str], b: list[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        last, row = row, [i + 1]
        for j, y in enumerate(b):
            row.append(min(last[j] + (x != y), last[j + 1] + 1, row[j] + 1))
    return row[-1]


def _plain(gold: list[tuple[str, str]], predicted: list[tuple[str, str]]) -> list[float]:
    out: list[float] = []
    for words in (True, False):
        tp = fp = fn = 0.0
        used: set[int] = set()
        for slot, filler in predicted:
            best, where = float("inf"), -1
            for place, (gold_slot, text) in enumerate(gold):
                if place in used or gold_slot != slot:
                    continue
                if words:
                    d = _edit(text.split(), filler.split()) / len(text.split())
                else:
                    d = _edit(list(text), list(filler)) / max(len(text), len(filler))
                if d < best:
                    best, where = d, place
            if where < 0:
                fp += 1
            else:
                used.add(where)
                tp, fp, fn = tp + 1, fp + best, fn + best
        out += [tp, fp, fn + len(gold) - len(used)]
    return out


_ITEM = st.lists(
    st.tuples(
        st.sampled_from(["t", "u"]),
        st.lists(st.sampled_from(["a", "ab", "b"]), min_size=1, max_size=3).map(" ".join),
    ),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(_ITEM, _ITEM), min_size=1, max_size=4))
def test_agrees_with_a_plain_implementation(
    pairs: list[tuple[list[tuple[str, str]], list[tuple[str, str]]]],
) -> None:
    counts = np.array([_plain(gold, predicted) for gold, predicted in pairs])
    for (gold, predicted), expected in zip(pairs, counts, strict=True):
        assert item_counts(gold, predicted) == pytest.approx(expected.tolist())
    tp, fp, fn = counts.sum(0)[:3] + counts.sum(0)[3:]
    precision = tp / (tp + fp) if tp else 0.0
    recall = tp / (tp + fn) if tp else 0.0
    f1 = 2 * precision * recall / (precision + recall) if tp else 0.0
    result = slu_f1([gold for gold, _ in pairs], [predicted for _, predicted in pairs])
    assert (result.precision, result.recall, result.f1) == pytest.approx((precision, recall, f1))
    assert from_counts(counts.sum(0)) == from_counts(counts)
    assert f1_of(counts.mean(0)[None])[0] == pytest.approx(f1)
