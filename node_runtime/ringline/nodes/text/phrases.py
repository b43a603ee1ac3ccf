"""Recognizing phrases with slots: "turn {state} the {room} light" hears "Turn ON the kitchen light!".

Used by `text_template` and `text_match`. Case, punctuation and runs of spaces don't count; a slot takes one or more words.
"""

from __future__ import annotations

import re

from ringline import NodeConfigError

_SLOT = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


def normalized(text: str) -> str:
    """Lower case, words only, one space between them."""
    return " ".join(re.findall(r"[\w']+", text.casefold()))


class Phrase:
    """One phrase with its slots. NodeConfigError if it has no words or the same slot twice."""

    def __init__(self, text: str) -> None:
        self.text = text
        pieces = _SLOT.split(text)
        self.slots = tuple(pieces[1::2])
        if len(set(self.slots)) != len(self.slots):
            raise NodeConfigError(f"phrase {text!r} has a slot twice")
        words = [re.escape(normalized(piece)) for piece in pieces[::2]]
        slots = [f"(?P<{name}>.+?)" for name in self.slots]
        parts = [part for pair in zip(words, [*slots, ""], strict=True) for part in pair if part]
        if not any(words):
            raise NodeConfigError(f"phrase {text!r} has no words of its own")
        self._pattern = re.compile(r"\ ".join(parts))

    def match(self, text: str) -> dict[str, str] | None:
        """Give what the slots hold, if the whole text is this phrase; None if it is not."""
        found = self._pattern.fullmatch(normalized(text))
        return found.groupdict() if found else None
