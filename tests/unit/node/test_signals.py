"""Orders to end: exceptions that may break into anything, remembered for whoever sees only what they broke."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from ringline.control.link import ControlLink
from ringline.node import signals
from ringline.node.commands import Terminated


def test_an_order_is_remembered_when_what_it_broke_fails_in_its_own_way() -> None:
    with signals.installed(lambda: True):
        assert signals.ordered_code() is None
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Terminated:
            error = ImportError("numpy could not be imported")
        assert error.args
        assert signals.ordered_code() == 128 + signal.SIGTERM


def test_a_nudge_is_an_order_only_when_it_may_break_in() -> None:
    with signals.installed(lambda: False):
        signals.break_in()
        assert signals.ordered_code() is None
    with signals.installed(lambda: True):
        with pytest.raises(Terminated):
            signals.break_in()
        assert signals.ordered_code() == 0


def test_a_new_life_begins_without_orders() -> None:
    with signals.installed(lambda: True), pytest.raises(Terminated):
        os.kill(os.getpid(), signal.SIGTERM)
    with signals.installed(lambda: True):
        assert signals.ordered_code() is None


def test_a_link_whose_start_was_broken_into_is_closed_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_thread: threading.Thread) -> None:
        raise Terminated(0)

    link = ControlLink(tmp_path / "control", "token", "a", 1, on_command=lambda _: None, on_tick=lambda: 1.0)
    monkeypatch.setattr(threading.Thread, "start", broken)
    with pytest.raises(Terminated):
        link.start()
    link.close()
    link.close()
    os.close(link._bell)
