"""Where slots stand in an answer: by hand, there and back, and in hostile text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raw2s import config
from raw2s.tasks import make
from raw2s.tasks.answers import Slots, from_json, from_plain, to_json, to_plain
from raw2s.tasks.spans import Spans, json_spans, plain_spans

words = st.text(max_size=8).filter(lambda text: text.replace("&", "").strip())
plain_words = words.filter(lambda text: not {":", ";"} & set(text))
hostile = st.text(max_size=60) | st.text('{}[]":,;&\\ ab1\ud800é', max_size=40)


def pieces(answer: str, spans: Spans) -> list[tuple[str, str]]:
    """What stands at each span, cut from the answer's bytes; checks that spans come in order."""
    data = answer.encode("utf-8", "surrogatepass")
    borders = [0, *(place for _, start, end in spans for place in (start, end)), len(data)]
    assert borders == sorted(borders) and all(start < end for _, start, end in spans)
    return [(kind, data[start:end].decode("utf-8", "surrogatepass")) for kind, start, end in spans]


@pytest.mark.parametrize(
    ("answer", "spans"),
    [
        ("date: today ; time: 3 pm", [("date", 0, 11), ("time", 14, 24)]),
        ("  a:b;;c : d :e;", [("a", 2, 5), ("c", 7, 15)]),
        ("né: ö ; x: y", [("né", 0, 7), ("x", 10, 14)]),
        ("two\n words:  x ", [("two words", 0, 14)]),
        ("date ; : x ; time: ; a: b", [("a", 21, 25)]),
        ("none", []),
        ("", []),
    ],
)
def test_plain_spans_by_hand(answer: str, spans: Spans) -> None:
    assert plain_spans(answer) == spans


@pytest.mark.parametrize(
    ("answer", "spans"),
    [
        ('{"date": "today", "time": "3 pm"}', [("date", 1, 16), ("time", 18, 32)]),
        ('{"a": "b & c"}', [("a", 1, 13)]),
        ('{"a": "b", "a" : "c"}', [("a", 1, 9), ("a", 11, 20)]),
        (r'{"a": "say \"x\", \\", "é": "ö"}', [("a", 1, 21), ("é", 23, 33)]),
        (r'{"\u0061": "}"}', [("a", 1, 14)]),
        ('{"a": {"b": "c"}, "d": ["e", {"f": "g"}], "h": 3, "i": null, "j": "k"}', [("j", 61, 69)]),
        ('{"": "a", " ": "b", "c": " ", "d": "&", "e": "f"}', [("e", 40, 48)]),
        ('sure: {"a": "b"} and {"c": "d"}', [("a", 7, 15)]),
        ('{"a": "b", "c": "d', [("a", 1, 9)]),
        ('{"a": "b"', [("a", 1, 9)]),
        ('{"a": "b", "c": "she said "d" to", "e": "f"}', [("a", 1, 9)]),
        ('{"a": "b", }', [("a", 1, 9)]),
        ('[{"a": "b"}]', []),
        ('"{"', []),
        ("{}", []),
        ("{a: b}", []),
        ("", []),
        ("{" * 3000, []),
        ('{"a": ' + "[" * 200_000, []),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_json_spans_by_hand(answer: str, spans: Spans) -> None:
    assert json_spans(answer) == spans


@given(st.lists(st.tuples(plain_words, plain_words), max_size=4))
@settings(max_examples=300, deadline=None)
def test_every_plain_part_holds_its_type_and_filler(slots: Slots) -> None:
    answer = to_plain(slots)
    found = pieces(answer, plain_spans(answer))
    assert [kind for kind, _ in found] == [" ".join(kind.split()) for kind, _ in slots]
    assert [text for _, text in found] == [f"{kind}: {filler}".strip() for kind, filler in slots]


@given(st.lists(st.tuples(words, words), max_size=4))
@settings(max_examples=300, deadline=None)
def test_every_json_part_holds_its_type_and_filler(slots: Slots) -> None:
    answer = to_json(slots)
    found = pieces(answer, json_spans(answer))
    assert [kind for kind, _ in found] == [
        kind.strip() for kind in dict.fromkeys(k for k, _ in slots)
    ]
    for pair in slots:
        escaped = [json.dumps(text, ensure_ascii=False)[1:-1] for text in pair]
        assert any(all(text in part for text in escaped) for _, part in found)


@given(hostile)
@settings(max_examples=600, deadline=None)
def test_the_parts_of_any_text_say_what_the_answer_says(answer: str) -> None:
    found = pieces(answer, plain_spans(answer))
    said = [pair for _, text in found for pair in from_plain(text)[0]]
    assert said == from_plain(answer)[0]
    assert [kind for kind, _ in said] == [kind for kind, _ in found]

    found = pieces(answer, json_spans(answer))
    read = [from_json(f"{{{text}}}")[0] for _, text in found]
    for (kind, _), pairs in zip(found, read, strict=True):
        assert {name for name, _ in pairs} == {kind}
    whole, malformed = from_json(answer)
    assert malformed or whole == [pair for pairs in read for pair in pairs]


def test_tasks_know_the_shape_of_their_answers() -> None:
    plain, json_ = "a: b ; c: d", '{"a": "b"}'
    assert make(config.Task(name="toy_slots")).slot_spans(plain) == plain_spans(plain)
    assert make(config.Task(name="slurp")).slot_spans(json_) == json_spans(json_)
    options = {"answer": "plain"}
    assert make(config.Task(name="slurp", options=options)).slot_spans(plain) == plain_spans(plain)
