"""Finding intents in text by words or regular expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ringline import DataType, MultiprocessNode, NodeConfigError, RuntimeData, register_node
from ringline.nodes.support import BoxConfig, Ports, extra_of, final_text
from ringline.nodes.text.phrases import Phrase, normalized
from ringline.nodes.text.template import Template


class MatchRule(BoxConfig):
    """One intent and how it is recognized: by exactly one of `keywords`, `phrase` and `pattern`."""

    intent: str = Field(min_length=1, max_length=100, description="The name of what is wanted.")
    keywords: list[str] | None = Field(
        None, min_length=1, max_length=100, description="Words or phrases that must all occur, in any order."
    )
    phrase: str | None = Field(None, description="The whole text, with slots: 'turn {state} the {room} light'.")
    pattern: str | None = Field(
        None,
        max_length=1000,
        description="A regular expression, searched without regard to case; named groups become slots.",
    )
    reply: str | None = Field(None, description="A text to send; may use {text}, {intent} and the slots.")

    @model_validator(mode="after")
    def _one_way(self) -> MatchRule:
        if sum(way is not None for way in (self.keywords, self.phrase, self.pattern)) != 1:
            raise ValueError("needs exactly one of keywords, phrase and pattern")
        return self


class TextMatchConfig(BoxConfig):
    rules: list[MatchRule] = Field(
        min_length=1, max_length=1000, description="Tried in this order; the first that fits counts."
    )
    unmatched: Literal["drop", "pass"] = Field(
        "drop", description="What happens to a text that no rule fits: pass sends it on by `unmatched`."
    )


@register_node("text_match")
class TextMatch(MultiprocessNode):
    """Recognizes what a text wants.

    Input `text`; partial results are skipped. Output `intent`: JSON with `intent`, `text`
    and `slots` (a mapping). Output `text`: the rule's `reply`, if it has one. Output `unmatched`: the message itself, if no
    rule fits and `unmatched` is `pass`. All keep the timestamp.

    Example::

        - name: understand
          type: text_match
          config:
            rules:
              - {intent: light, phrase: "turn {state} the {room} light", reply: "The {room} light is {state}."}
              - {intent: stop, keywords: [stop]}
              - {intent: timer, pattern: "timer .*?(?P<minutes>[0-9]+) min"}
    """

    inputs: ClassVar[Ports] = {"text": DataType.TEXT}
    outputs: ClassVar[Ports] = {"intent": DataType.JSON, "text": DataType.TEXT, "unmatched": DataType.TEXT}
    Config = TextMatchConfig
    options: TextMatchConfig

    def initialize(self) -> None:
        self._rules = [_Matcher(rule) for rule in self.options.rules]

    def process(self, data: RuntimeData) -> Iterator[dict[str, RuntimeData]]:
        text = final_text(self, data)
        if text is None:
            return
        for rule in self._rules:
            slots = rule.match(text)
            if slots is not None:
                yield from self._found(rule, text, slots, data)
                return
        if self.options.unmatched == "pass":
            yield {"unmatched": data}

    def _found(
        self, rule: _Matcher, text: str, slots: dict[str, str], data: RuntimeData
    ) -> Iterator[dict[str, RuntimeData]]:
        value: dict[str, Any] = {"intent": rule.intent, "text": text, "slots": slots}
        yield {"intent": RuntimeData.json(value, timestamp=data.timestamp)}
        if rule.reply is not None:
            reply = rule.reply.fill({**slots, "text": text, "intent": rule.intent})
            yield {"text": RuntimeData.text(reply, timestamp=data.timestamp, extra=extra_of(data))}


class _Matcher:
    """A rule, ready to be tried."""

    def __init__(self, rule: MatchRule) -> None:
        self.intent = rule.intent
        self.reply = Template(rule.reply) if rule.reply is not None else None
        self._phrase = Phrase(rule.phrase) if rule.phrase is not None else None
        self._keywords = [f" {normalized(keyword)} " for keyword in rule.keywords or ()]
        try:
            self._pattern = re.compile(rule.pattern, re.IGNORECASE) if rule.pattern is not None else None
        except re.error as error:
            raise NodeConfigError(
                f"the pattern {rule.pattern!r} of intent '{rule.intent}' is not a regular expression: {error}"
            ) from error

    def match(self, text: str) -> dict[str, str] | None:
        """Give the slots if the text fits, else None."""
        if self._phrase is not None:
            return self._phrase.match(text)
        if self._pattern is not None:
            found = self._pattern.search(text)
            return {name: value or "" for name, value in found.groupdict().items()} if found else None
        padded = f" {normalized(text)} "
        return {} if all(keyword in padded for keyword in self._keywords) else None
