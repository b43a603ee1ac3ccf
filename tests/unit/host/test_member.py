"""One node over its incarnations, and the error that a failed start becomes."""

from __future__ import annotations

import asyncio
import gc

import pytest

from ringline.errors import (
    InitTimeout,
    NodeConfigError,
    NodeInitError,
    ProcessCrashed,
    SessionClosedError,
    UnknownNodeTypeError,
)
from ringline.graph.nodeconfig import NodePlan
from ringline.host.exits import ExitRecord, exit_record
from ringline.host.failures import init_error, reported_error
from ringline.host.member import Member
from ringline.host.restart import RestartPolicy
from tests.unit.host.fakes import FakeLine, FakeProcess, member_of


@pytest.fixture
async def member() -> Member:
    return member_of("s2s", FakeProcess(), FakeLine())


def ended(member: Member, code: int, signal: str | None = None) -> ExitRecord:
    event = {"node": member.name, "epoch": 1, "pid": 1, "code": code, "signal": signal, "tail": ["last line"]}
    record = exit_record(event, member.circumstances("s"))
    member.ended(record)
    return record


async def test_progress_changes_the_state_and_keeps_what_is_not_said(member: Member) -> None:
    member.progressed({"status": "loading", "progress": 0.4, "message": "reading the model"})
    assert member.progress_text() == "loading 40%: reading the model"
    assert member.progressed({}).progress == 0.4
    assert member.progressed({"progress": 7}).progress == 1.0
    assert member.status().state == "loading"


async def test_an_init_timeout_has_the_documented_text_and_the_last_progress(member: Member) -> None:
    member.progressed({"status": "loading", "progress": 0.4})
    member.tail.append("downloading…")
    error = member.init_timeout(30.0)
    assert str(error).startswith("Node 's2s' failed to initialize within 30s (last progress: loading 40%)")
    assert "downloading…" in str(error)
    assert error.node_id == "s2s"


async def test_a_killed_start_is_a_crash(member: Member) -> None:
    error = init_error(member, ended(member, 137, "SIGKILL"), 30.0)
    assert isinstance(error, ProcessCrashed)
    assert "Node 's2s' exited with code 137" in str(error)


async def test_a_start_that_exits_with_zero_says_so(member: Member) -> None:
    error = init_error(member, ended(member, 0), 30.0)
    assert isinstance(error, NodeInitError)
    assert "exited with code 0 before it was ready" in str(error)
    assert "last line" in str(error)
    assert error.exit_code == 0


async def test_what_the_node_reports_keeps_its_class(member: Member) -> None:
    member.told = {
        "reason": "Error",
        "error": "ringline.errors.UnknownNodeTypeError: no type 'vda'; did you mean 'vad'?",
    }
    error = init_error(member, ended(member, 1), 30.0)
    assert isinstance(error, UnknownNodeTypeError)
    assert str(error) == "node 's2s': no type 'vda'; did you mean 'vad'?"


async def test_an_exception_in_initialize_names_file_and_line(member: Member) -> None:
    member.told = {"reason": "Error", "error": "ValueError: no model", "file": "/app/node.py", "line": 12}
    error = init_error(member, ended(member, 1), 30.0)
    assert isinstance(error, NodeInitError)
    assert str(error) == "Node 's2s' failed to initialize: ValueError: no model (/app/node.py, line 12)"


async def test_the_nodes_own_timeout_is_the_documented_error(member: Member) -> None:
    error = init_error(member, ended(member, 71), 5.0)
    assert isinstance(error, InitTimeout)
    assert str(error).startswith("Node 's2s' failed to initialize within 5s")


@pytest.mark.parametrize("text", ["", "ValueError: x", "ringline.errors.Nothing: x", "ringline.errors.SessionError: x"])
def test_only_node_errors_are_made_again(text: str) -> None:
    assert reported_error(text, "a") is None


def test_a_config_error_is_made_again() -> None:
    assert isinstance(reported_error("ringline.errors.NodeConfigError: bad", "a"), NodeConfigError)


async def test_a_new_incarnation_begins_fresh(member: Member) -> None:
    member.ready.set_result(None)
    ended(member, 137, "SIGKILL")
    assert (member.alive, member.finished, member.status().state) == (False, False, "failed")
    member.told, member.done = {"reason": "Error"}, True
    process = FakeProcess()
    handle = member.handle
    assert handle is not None
    member.begin(2, handle, process)  # type: ignore[arg-type]
    assert (member.alive, member.was_ready, member.told, member.done) == (True, False, {}, False)
    assert member.status().last_exit is not None
    assert member.exits == {"Killed": 1}


async def test_an_ordered_end_is_finished(member: Member) -> None:
    member.done = True
    ended(member, 0)
    assert member.finished
    assert member.status().pid is None


async def test_a_failure_that_nobody_waits_for_is_not_reported_as_lost() -> None:
    lost: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
    never_started = Member(NodePlan("a", "gain"), RestartPolicy())
    never_started.ready.set_exception(SessionClosedError("the session has ended"))
    await asyncio.sleep(0)
    del never_started
    gc.collect()
    assert lost == []
