"""Answers from templates: the smallest dialogue, without a model."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from ringline import DataError, DataType, MultiprocessNode, RuntimeData, TextMetadata, register_node
from ringline.nodes.support import BoxConfig, Ports, expect, extra_of
from ringline.nodes.text.phrases import Phrase
from ringline.nodes.text.template import Template


class TextTemplateConfig(BoxConfig):
    rules: dict[str, str] = Field(
        default_factory=dict, max_length=1000,
        description="Phrase → answer, the first that fits. A phrase may have slots: 'turn {state} the {room} light'.",
    )  # fmt: skip
    template: str | None = Field(
        "You said: {text}.",
        description="The answer when no rule fits; null: then nothing is sent. {text} is the input.",
    )


@register_node("text_template")
class TextTemplate(MultiprocessNode):
    """Answers a text by rules, or fills a template.

    Input `text`: text, or a JSON object whose keys the templates may use (`{name}`, `{user.city}`, `{value:.1f}`; nothing is
    ever evaluated). Output `text`. Rules are compared with the text (of a JSON object: its key `text`) without regard to case
    and punctuation; the words in a phrase's slots can be used in its answer. Partial results (metadata `final` false) are
    skipped; the answer keeps the question's timestamp and `extra`. DataError for a key that a message lacks.

    Example::

        - name: answer
          type: text_template
          config:
            rules:
              "turn {state} the {room} light": "The {room} light is {state}."
            template: "Sorry, I can't do that."
    """

    inputs: ClassVar[Ports] = {"text": "any"}
    outputs: ClassVar[Ports] = {"text": DataType.TEXT}
    Config = TextTemplateConfig
    options: TextTemplateConfig

    def initialize(self) -> None:
        self._rules = [(Phrase(phrase), Template(answer)) for phrase, answer in self.options.rules.items()]
        self._default = Template(self.options.template) if self.options.template is not None else None

    def process(self, data: RuntimeData) -> RuntimeData | None:
        values = self._values(data)
        if isinstance(data.metadata, TextMetadata) and not data.metadata.final:
            return None
        answer = self._answer(values)
        if answer is None:
            return None
        return RuntimeData.text(answer, timestamp=data.timestamp, extra=extra_of(data))

    def _values(self, data: RuntimeData) -> dict[str, Any]:
        expect(self, data, DataType.TEXT, DataType.JSON)
        if data.type is DataType.TEXT:
            return {"text": data.as_text()}
        value = data.as_json()
        if isinstance(value, dict):
            return value
        raise DataError(f"node '{self.node_id}' takes text or a JSON object, but a JSON {type(value).__name__} came")

    def _answer(self, values: dict[str, Any]) -> str | None:
        said = values.get("text")
        for phrase, answer in self._rules if isinstance(said, str) else ():
            slots = phrase.match(str(said))
            if slots is not None:
                return answer.fill({**values, **slots})
        return self._default.fill(values) if self._default is not None else None
