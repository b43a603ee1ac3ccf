"""The `grammar` option: packaged names, files, JSGF text, lists of phrases."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringline import NodeConfigError
from ringline.nodes.voice.decoder import SpeechDecoder
from ringline.nodes.voice.grammars import PACKAGED, grammar_text, phrases_text, words_of

JSGF = "public <go> = go (left | right) {a tag} /0.5/ | stop; // and a remark"


@pytest.fixture(scope="module")
def decoder() -> SpeechDecoder:
    return SpeechDecoder(None, None)


@pytest.mark.parametrize("name", sorted(PACKAGED))
def test_every_packaged_grammar_is_valid_and_can_be_heard(decoder: SpeechDecoder, name: str) -> None:
    decoder.use_grammar(grammar_text(name))


def test_the_words_of_a_grammar_are_found_between_its_signs() -> None:
    assert words_of(grammar_text(JSGF)) == {"go", "left", "right", "stop"}
    assert words_of(
        "#JSGF V1.0 UTF-8 en;\ngrammar a.b;\nimport <c.*>;\n/* no */ public <d> = don't <c>* | [really];"
    ) == {"don't", "really"}


def test_a_grammar_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "my.gram").write_text(JSGF)
    assert words_of(grammar_text(str(tmp_path / "my.gram"))) == {"go", "left", "right", "stop"}


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("lamps", "none of the packaged ones .lights, yes_no, digits, player."),
        ("nowhere.gram", "can't be read"),
        ("", "none of the packaged"),
    ],
)
def test_what_is_no_grammar_is_refused_with_the_names_that_exist(option: str, words: str) -> None:
    with pytest.raises(NodeConfigError, match=words):
        grammar_text(option)


def test_phrases_become_alternatives_without_their_punctuation(decoder: SpeechDecoder) -> None:
    text = phrases_text(["What time is it?", "Stop!"])
    assert "what time is it | stop;" in text
    decoder.use_grammar(text)
    with pytest.raises(NodeConfigError, match="has no words"):
        phrases_text(["?!"])


def test_words_without_a_pronunciation_are_named(decoder: SpeechDecoder) -> None:
    with pytest.raises(NodeConfigError, match="no pronunciation of: blorft, zyxw; use other words"):
        decoder.use_grammar(phrases_text(["turn blorft", "zyxw on"]))
    with pytest.raises(NodeConfigError, match="no pronunciation of: blorft"):
        decoder.use_keywords(["hello blorft"], 1e-20)


@pytest.mark.parametrize("text", ["public <a> = turn (on;", "public <a> = <b>;"])
def test_bad_jsgf_is_refused(decoder: SpeechDecoder, text: str) -> None:
    with pytest.raises(NodeConfigError, match="grammar"):
        decoder.use_grammar(grammar_text(text))


@pytest.mark.parametrize(
    ("model", "dictionary", "words"),
    [("/nowhere", None, "acoustic model '/nowhere'"), (None, "/nowhere", "dictionary '/nowhere'")],
)
def test_models_that_are_not_there_are_named(model: str | None, dictionary: str | None, words: str) -> None:
    with pytest.raises(NodeConfigError, match=words):
        SpeechDecoder(model, dictionary)
