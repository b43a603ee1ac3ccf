"""Which error a failed start of a node becomes: the documented one, with the node's own words.

Pure; the supervisor asks when a process ended before it was ready.
"""

from __future__ import annotations

from ringline import errors
from ringline.errors import NodeError, NodeInitError, SessionError
from ringline.host.exits import ExitRecord
from ringline.host.member import Member

_PREFIX = "ringline.errors."


def init_error(member: Member, record: ExitRecord, timeout_s: float) -> SessionError | NodeError:
    """Choose the error for a process that ended before it was ready.

    What the node reported itself (`UnknownNodeTypeError`, `NodeLoadError`, …) keeps its class; a killed process is a
    `ProcessCrashed`; everything else is a `NodeInitError`.
    """
    if record.reason == "InitTimeout":
        return member.init_timeout(timeout_s)
    if record.exit_code >= 128:
        return record.error()
    reported = reported_error(str(member.told.get("error", "")), member.name)
    if reported is not None:
        return reported
    return NodeInitError(_sentence(member, record), member.name, record.exit_code)


def reported_error(text: str, node: str) -> NodeError | None:
    """Make again a node error whose class the node named; None if it was none of ours."""
    if not text.startswith(_PREFIX):
        return None
    name, _, message = text.removeprefix(_PREFIX).partition(": ")
    found = getattr(errors, name, None)
    if isinstance(found, type) and issubclass(found, NodeError):
        return found(f"node '{node}': {message}")
    return None


def _sentence(member: Member, record: ExitRecord) -> str:
    told = member.told
    if told:
        place = f" ({told['file']}, line {told.get('line')})" if told.get("file") else ""
        return f"Node '{member.name}' failed to initialize: {told.get('error') or record.message}{place}"
    text = f"Node '{member.name}' exited with code {record.exit_code} before it was ready"
    text += f" (last progress: {member.progress_text()}); `initialize` must return, not end the process"
    if record.stderr_tail:
        text += "\n  its last lines:\n" + "\n".join(f"    {line}" for line in record.stderr_tail)
    return text
