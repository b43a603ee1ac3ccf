"""`text_match` and `text_template`: a dialogue without a model."""

from __future__ import annotations

from typing import Any

import pytest

from ringline import DataError, NodeConfigError, RuntimeData
from ringline.testing import NodeHarness
from tests.unit.nodes.sounds import on

RULES = {"turn {state} the {room} light": "The {room} light is {state}.", "stop": "Stopped."}
INTENTS = [
    {"intent": "light", "phrase": "turn {state} the {room} light", "reply": "{intent}: the {room} light is {state}."},
    {"intent": "timer", "pattern": r"timer .*?(?P<minutes>\d+) min(?P<rest>utes)?"},
    {"intent": "stop", "keywords": ["stop", "the music"], "reply": "Stopped."},
]


async def answers(config: dict[str, Any], *messages: RuntimeData) -> list[str]:
    async with NodeHarness("text_template", config) as node:
        return [output.data.as_text() for message in messages for output in await node.send(message)]


async def test_the_first_rule_that_fits_answers() -> None:
    said = [RuntimeData.text(text) for text in ("Turn off the kitchen light!", "stop", "sing")]
    assert await answers({"rules": RULES, "template": "I can't {text}."}, *said) == [
        "The kitchen light is off.",
        "Stopped.",
        "I can't sing.",
    ]


async def test_without_options_it_repeats_what_was_said() -> None:
    assert await answers({}, RuntimeData.text("hello")) == ["You said: hello."]


async def test_no_template_means_no_answer_to_what_fits_nothing() -> None:
    assert await answers({"rules": RULES, "template": None}, RuntimeData.text("sing")) == []


async def test_json_objects_fill_templates_and_their_text_is_heard() -> None:
    weather = RuntimeData.json({"city": {"name": "Rome"}, "degrees": 21.54})
    assert await answers({"template": "{city.name}: {degrees:.1f}"}, weather) == ["Rome: 21.5"]
    light = RuntimeData.json({"text": "stop", "who": "Ann"})
    assert await answers({"rules": {"stop": "Good bye, {who}."}}, light) == ["Good bye, Ann."]


async def test_answers_keep_the_time_and_the_extra_of_the_question() -> None:
    async with NodeHarness("text_template", {}) as node:
        [output] = await node.send(RuntimeData.text("hi", timestamp=5, extra={"end_ns": 9}))
    assert (output.port, output.data.timestamp, output.data.metadata.extra) == ("text", 5, {"end_ns": 9})


async def test_partial_results_are_not_answered() -> None:
    assert await answers({}, RuntimeData.text("he", final=False)) == []


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (RuntimeData.json([1]), "takes text or a JSON object, but a JSON list came"),
        (RuntimeData.json({"other": 1}), "needs 'text'"),
        (RuntimeData.binary(b"x"), "takes text or json, but a message of type binary came"),
    ],
)
async def test_what_has_no_text_is_refused(message: RuntimeData, words: str) -> None:
    with pytest.raises(DataError, match=words):
        await answers({}, message)


async def test_bad_templates_are_found_when_the_node_starts() -> None:
    with pytest.raises(NodeConfigError, match="not a name like"):
        await answers({"rules": {"hello": "{0.__class__}"}})


async def matched(text: str, **config: Any) -> dict[str, list[Any]]:
    async with NodeHarness("text_match", {"rules": INTENTS, **config}) as node:
        outputs = await node.send(RuntimeData.text(text, timestamp=3))
    assert {output.data.timestamp for output in outputs} <= {3}
    return {
        "intent": [data.as_json() for data in on(outputs, "intent")],
        "text": [data.as_text() for data in on(outputs, "text")],
        "unmatched": [data.as_text() for data in on(outputs, "unmatched")],
    }


async def test_a_phrase_gives_intent_slots_and_reply() -> None:
    found = await matched("Turn on the hall light.")
    assert found["intent"] == [
        {"intent": "light", "text": "Turn on the hall light.", "slots": {"state": "on", "room": "hall"}}
    ]
    assert found["text"] == ["light: the hall light is on."]


async def test_a_pattern_is_searched_without_regard_to_case() -> None:
    found = await matched("Set a TIMER for 15 min please")
    assert found["intent"][0]["slots"] == {"minutes": "15", "rest": ""}
    assert found["text"] == []


@pytest.mark.parametrize(
    ("said", "fits"),
    [("Stop the music", True), ("the music: stop!", True), ("stop", False), ("nonstop the music", False)],
)
async def test_keywords_must_all_be_there_as_whole_words(said: str, fits: bool) -> None:
    assert bool((await matched(said))["intent"]) is fits


async def test_what_fits_nothing_is_dropped_or_passed() -> None:
    assert await matched("sing") == {"intent": [], "text": [], "unmatched": []}
    assert (await matched("sing", unmatched="pass"))["unmatched"] == ["sing"]


async def test_partial_results_are_not_matched() -> None:
    async with NodeHarness("text_match", {"rules": INTENTS}) as node:
        assert await node.send(RuntimeData.text("Turn on the hall light", final=False)) == []
        with pytest.raises(DataError, match="takes text, but a message of type json came"):
            await node.send(RuntimeData.json({"text": "stop"}))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"intent": "a"}, "exactly one of keywords, phrase and pattern"),
        ({"intent": "a", "phrase": "b", "pattern": "c"}, "exactly one of keywords, phrase and pattern"),
        ({"intent": "a", "phrase": "b", "respond": "c"}, "respond"),
        ({"phrase": "b"}, "intent"),
    ],
)
async def test_rules_that_say_too_little_or_too_much_are_refused(rule: dict[str, Any], words: str) -> None:
    with pytest.raises(NodeConfigError, match=words):
        NodeHarness("text_match", {"rules": [rule]})


async def test_a_bad_pattern_is_named() -> None:
    with pytest.raises(NodeConfigError, match=r"pattern '\(' of intent 'a' is not a regular expression"):
        async with NodeHarness("text_match", {"rules": [{"intent": "a", "pattern": "("}]}):
            pass
