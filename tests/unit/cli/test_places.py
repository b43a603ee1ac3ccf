"""Where `send` and `recv` go: one session, here or in a pod."""

from __future__ import annotations

import pytest
import typer

from ringline.cli.places import one_place


def test_a_session_is_named_by_its_id_or_its_url() -> None:
    assert one_place("voice-7", "") == "voice-7"
    assert one_place("", "ws://10.0.0.1:9443") == "ws://10.0.0.1:9443"
    assert one_place("", "wss://calls.example.org") == "wss://calls.example.org"


@pytest.mark.parametrize(("session", "url"), [("", ""), ("a", "ws://b"), ("", "http://b"), ("", "b:9443")])
def test_neither_both_or_something_else_is_a_wrong_use(session: str, url: str) -> None:
    with pytest.raises(typer.BadParameter):
        one_place(session, url)
