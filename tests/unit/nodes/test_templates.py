"""Templates fill in values and evaluate nothing; phrases hear words, whatever stands between them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline import DataError, NodeConfigError
from ringline.nodes.text.phrases import Phrase, normalized
from ringline.nodes.text.template import Template


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("The {room} light is {state}.", "The hall light is on."),
        ("{user.name} has {user.pets.1.name}", "Ann has Rex"),
        ("{value:.1f} degrees, {value:>8.2f}", "21.5 degrees,    21.55"),
        ("{{braces}} {room}", "{braces} hall"),
        ("nothing to fill", "nothing to fill"),
        ("{first-name}", "Ann"),
    ],
)
def test_names_paths_and_formats_are_filled_in(text: str, filled: str) -> None:
    values: dict[str, Any] = {
        "room": "hall",
        "state": "on",
        "value": 21.549,
        "user": {"name": "Ann", "pets": [{"name": "Tom"}, {"name": "Rex"}]},
        "first-name": "Ann",
    }
    assert Template(text).fill(values) == filled


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{0}",
        "{a.__class__!r}",
        "{a[0]}",
        "{a()}",
        "{a!r}",
        "{a:{width}}",
        "{a:999999999d}",
        "{a b}",
        "{unclosed",
        "}",
    ],
)
def test_what_could_be_misused_is_refused_when_the_template_is_read(text: str) -> None:
    with pytest.raises(NodeConfigError, match="template"):
        Template(text)


def test_attributes_of_values_are_out_of_reach() -> None:
    with pytest.raises(DataError, match=r"needs 'text\.__class__'"):
        Template("{text.__class__}").fill({"text": "hello"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{missing}", "needs 'missing', which this message does not have"),
        ("{items.7}", "needs 'items.7'"),
        ("{name:.1f}", "does not fit the format"),
    ],
)
def test_a_value_that_is_missing_or_unfit_is_named(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Template(text).fill({"items": [1], "name": "Ann"})


@given(text=st.text().filter(lambda text: "{" not in text and "}" not in text), value=st.text())
def test_values_are_never_read_as_templates(text: str, value: str) -> None:
    assert Template(text + "{a}").fill({"a": value, "b": 1}) == text + value


@pytest.mark.parametrize(
    ("phrase", "said", "slots"),
    [
        ("turn on the light", "Turn ON, the  light!", {}),
        ("turn {state} the {room} light", "turn on the living room light", {"state": "on", "room": "living room"}),
        ("{anything} please", "the bill, please", {"anything": "the bill"}),
        ("call {name}", "call Zoë", {"name": "zoë"}),
        ("what's {thing}", "What's that?", {"thing": "that"}),
    ],
)
def test_phrases_fit_whatever_the_case_and_punctuation(phrase: str, said: str, slots: dict[str, str]) -> None:
    assert Phrase(phrase).match(said) == slots


@pytest.mark.parametrize(
    ("phrase", "said"),
    [
        ("turn on the light", "turn on the lights"),
        ("call {name}", "call"),
        ("call {name}", "please call Ann"),
        ("a.c", "abc"),
    ],
)
def test_other_sentences_do_not_fit(phrase: str, said: str) -> None:
    assert Phrase(phrase).match(said) is None


@pytest.mark.parametrize("phrase", ["", "!?", "{only}", "{a} and {a}"])
def test_phrases_that_fit_everything_or_nothing_are_refused(phrase: str) -> None:
    with pytest.raises(NodeConfigError, match="phrase"):
        Phrase(phrase)


@given(text=st.text(max_size=60))
def test_a_normalized_text_stays_as_it_is(text: str) -> None:
    assert normalized(normalized(text)) == normalized(text)
