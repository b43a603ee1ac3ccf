"""Where `send`, `recv` and `run --session` go: one session, here, on a cluster or at a URL."""

from __future__ import annotations

import pytest
import typer

from ringline.cli.places import Place, place


def test_a_session_is_named_by_its_name_or_its_url() -> None:
    assert place("voice-7", "", "", "") == Place(session="voice-7")
    assert place("", "", "", "ws://10.0.0.1:9443") == Place(url="ws://10.0.0.1:9443")
    assert place("call", "team-a", "staging", "wss://calls.example.org").session == "call"


def test_only_a_bare_name_may_be_a_session_of_this_machine() -> None:
    assert not place("voice-7", "", "", "").on_cluster
    for given in (("a", "team-a", "", ""), ("a", "", "staging", ""), ("a", "", "", "ws://b")):
        assert place(*given).on_cluster


@pytest.mark.parametrize(
    "given",
    [
        ("", "", "", ""),
        ("", "team-a", "", ""),
        ("", "", "c", "ws://b"),
        ("", "", "", "http://b"),
        ("a", "", "", "b:9443"),
    ],
)
def test_none_or_something_else_is_a_wrong_use(given: tuple[str, str, str, str]) -> None:
    with pytest.raises(typer.BadParameter):
        place(*given)
