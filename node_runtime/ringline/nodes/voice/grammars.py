"""The grammars in the box, in JSGF (https://www.w3.org/TR/jsgf/), and how a node's `grammar` option becomes one.

Used by `recognize`. Pure but for reading a grammar file that the option names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from ringline import NodeConfigError

_LIGHTS: Final = """
public <command> = [please] <switch> [please];
<switch> = (turn | switch) <state> <lamp> | (turn | switch) <lamp> <state> | (dim | brighten) <lamp>;
<state> = on | off;
<lamp> = [the] [<room>] (light | lights | lamp);
<room> = kitchen | bedroom | bathroom | hall | office | garden | living room;
"""
_YES_NO: Final = "public <answer> = yes | yes please | yeah | okay | sure | no | no thanks | nope;"
_DIGITS: Final = """
public <digits> = <digit>+;
<digit> = zero | oh | one | two | three | four | five | six | seven | eight | nine;
"""
_PLAYER: Final = """
public <command> = play | pause | stop | resume | next | previous | repeat | louder | quieter | volume (up | down);
"""

PACKAGED: Final = {"lights": _LIGHTS, "yes_no": _YES_NO, "digits": _DIGITS, "player": _PLAYER}
"""The grammars that `grammar` can name."""

_REMARK: Final = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_NOISE: Final = re.compile(
    r"//[^\n]*|/\*.*?\*/|#JSGF[^;]*;|\bgrammar\s+[\w.]+\s*;|\bimport\s*<[^>]*>\s*;|<[^>]*>|\{[^}]*\}|/[\d.]+/|\bpublic\b",
    re.DOTALL,
)
_WORD: Final = re.compile(r"[^\W_][\w'\-.]*")


def grammar_text(option: str) -> str:
    """Give the JSGF text for a `grammar` option: a packaged name, the path of a file, or JSGF itself.

    NodeConfigError for anything else, with the names that exist.
    """
    if option in PACKAGED:
        return with_header(PACKAGED[option])
    if "public" in option and "=" in option:
        return with_header(option)
    if option.endswith((".gram", ".jsgf")):
        try:
            return with_header(Path(option).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise NodeConfigError(f"the grammar file {option!r} can't be read: {error}") from error
    names = ", ".join(PACKAGED)
    raise NodeConfigError(
        f"grammar {option!r} is none of the packaged ones ({names}), no .gram or .jsgf file, and no JSGF text (public <…> = …;)"
    )


def phrases_text(phrases: list[str]) -> str:
    """Give the JSGF text of a list of sentences, one of which is said."""
    return with_header(f"public <phrase> = {' | '.join(_plain(phrase) for phrase in phrases)};")


def words_of(jsgf: str) -> set[str]:
    """All words that a grammar can hear."""
    return set(_WORD.findall(_NOISE.sub(" ", jsgf)))


def undefined_rules(jsgf: str) -> set[str]:
    """Give the rules that a grammar refers to but neither defines nor imports: PocketSphinx would hear nothing there."""
    text = _REMARK.sub(" ", jsgf)
    imported = set(re.findall(r"\bimport\s*<([^>]*)>", text))
    if any(name.endswith("*") for name in imported):
        return set()
    defined = set(re.findall(r"<([^>]*)>\s*=", text)) | {name.rpartition(".")[2] for name in imported}
    return set(re.findall(r"<([^>]*)>", text)) - defined - imported - {"NULL", "VOID"}


def with_header(rules: str) -> str:
    """Rules as a whole grammar: the header line is added if it is missing."""
    return rules if rules.lstrip().startswith("#JSGF") else f"#JSGF V1.0;\ngrammar ringline;\n{rules.strip()}\n"


def _plain(phrase: str) -> str:
    words = re.findall(r"[\w'\-]+", phrase.lower())
    if not words:
        raise NodeConfigError(f"phrase {phrase!r} has no words")
    return " ".join(words)
