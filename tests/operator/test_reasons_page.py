"""Every word that a status or an Event may carry is explained on the operator's page, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from ringline_operator.outcome import GATEWAY_RESTARTS
from ringline_operator.settings import OperatorSettings
from tests.helpers.tree import ROOT

PAGE = (ROOT / "docs" / "operations" / "operator.md").read_text(encoding="utf-8")
SPEAKING = ("status.py", "outcome.py", "act.py", "decide/attempts.py")
OTHER_WORDS = frozenset({
    "MediaPipeline", "MediaSession", "Pod", "NetworkPolicy", "Event",  # kinds
    "True", "False", "Normal", "Warning", "Always", "OnFailure",  # values of Kubernetes' own
    "PodScheduled", "NodesReady",  # conditions
    "Running", "Pending", "Stopping", "Stopped", "Succeeded",  # phases and states
    "Replaced", "SessionFinished", "TimeToLive",  # for the log only
})  # fmt: skip


def words() -> Iterator[str]:
    """Yield every text of the code that looks like a reason."""
    for name in SPEAKING:
        tree = ast.parse((ROOT / "operator" / "ringline_operator" / name).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from re.findall(r"^[A-Z][a-z]+[A-Za-z]*$|^[A-Z]{3}[A-Za-z]+$", node.value)


@pytest.mark.parametrize("reason", sorted(set(words()) - OTHER_WORDS))
def test_a_reason_is_explained(reason: str) -> None:
    assert f"`{reason}`" in PAGE


def test_the_times_on_the_page_are_those_of_the_settings() -> None:
    settings = OperatorSettings()
    assert f"`operator.renewSeconds` ({settings.renew_seconds:.0f})" in PAGE
    assert f"`operator.leaseSeconds` ({settings.lease_seconds:.0f})" in PAGE
    assert settings.resync_seconds == 600, "ten minutes, says the page"
    assert GATEWAY_RESTARTS == 3, "more than three times, says the page"
