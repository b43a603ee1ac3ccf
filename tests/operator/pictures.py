"""Small worlds for the operator's decisions, and a fake cluster that carries actions out on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ringline.graph.session_plan import SessionPolicy
from ringline_operator.actions import (
    Action,
    ClaimPod,
    CreatePod,
    CreateSession,
    DeletePod,
    DeleteSession,
    EmitEvent,
    LabelSession,
    PatchSession,
)
from ringline_operator.decide import Memory, World, decide
from ringline_operator.views import ContainerView, PipelineView, PodView, SessionView, seconds

START = 1_800_000_000.0
UID = "uid-voice"


def pipeline(replicas: int = 1, *, revision: str = "aaaaaa", suspend: bool = False, **policy: Any) -> PipelineView:
    return PipelineView(
        "default",
        "voice",
        UID,
        1,
        revision,
        replicas,
        suspend=suspend,
        session=replace(SessionPolicy(), **policy),
    )


class Cluster:
    """Carries out actions at once, as an API server and a kubelet without delays would."""

    def __init__(self, view: PipelineView) -> None:
        self.pipeline: PipelineView | None = view
        self.sessions: dict[str, SessionView] = {}
        self.pods: dict[str, PodView] = {}
        self.now = START
        self.log: list[Action] = []
        self.memory = Memory()
        self._count = 0

    def world(self) -> World:
        return World(self.pipeline, tuple(self.sessions.values()), tuple(self.pods.values()))

    def step(self) -> list[Action]:
        actions = decide(self.world(), self.now, self.memory).actions
        assert actions == decide(self.world(), self.now).actions, "what was remembered changed a decision"
        for action in actions:
            self.apply(action)
        self.log += actions
        return actions

    def settle(self, rounds: int = 20) -> None:
        for _ in range(rounds):
            before = (dict(self.sessions), dict(self.pods))
            self.step()
            if before == (self.sessions, self.pods):
                return
        raise AssertionError("the operator does not come to rest")

    def uid(self) -> str:
        self._count += 1
        return f"uid-{self._count}"

    def claim(self, name: str) -> SessionView:
        self.sessions[name] = SessionView(name, self.uid(), self.now, pipeline="voice")
        return self.sessions[name]

    def apply(self, action: Action) -> None:
        match action:
            case CreateSession(name):
                owner = self.pipeline.uid if self.pipeline else None
                self.sessions.setdefault(name, SessionView(name, self.uid(), self.now, owner_uid=owner))
            case DeleteSession(name, uid):
                if name in self.sessions and self.sessions[name].uid == uid:
                    del self.sessions[name]
                    self.pods = {key: pod for key, pod in self.pods.items() if pod.owner_uid != uid}
            case CreatePod(session, uid, attempt, claimed):
                name = f"{session}-{attempt}"
                revision = self.pipeline.revision if self.pipeline else ""
                pod = PodView(name, self.uid(), "1", session, uid, self.now, claimed, revision, attempt)
                self.pods.setdefault(name, pod)
            case DeletePod(name, uid):
                if name in self.pods and self.pods[name].uid == uid:
                    del self.pods[name]
            case ClaimPod():
                pod = self.pods[action.pod]
                assert not pod.claimed, "a pod was claimed twice"
                self.pods[action.pod] = replace(
                    pod, claimed=True, session=action.session, owner_uid=action.session_uid, resource_version="2"
                )
            case PatchSession(name, uid, status):
                if name in self.sessions and self.sessions[name].uid == uid:
                    self._write(name, dict(status))
            case LabelSession(name):
                self.sessions[name] = replace(self.sessions[name], labelled=True)
            case EmitEvent():
                pass

    def _write(self, name: str, status: dict[str, Any]) -> None:
        self.sessions[name] = replace(
            self.sessions[name],
            phase=str(status.get("phase", "")),
            revision=str(status.get("revision", "")),
            attempt=int(str(status.get("attempt", 0))),
            pod_name=str(status.get("podName", "")),
            claimed_from=str(status.get("claimedFrom", "")),
            finished_at=seconds(status.get("finishTime")),
            restarts=tuple(seconds(t) or 0.0 for t in status.get("restartTimes", ())),
            status=status,
        )

    def ready(self, *names: str) -> None:
        for name in names or tuple(self.pods):
            self.pods[name] = replace(self.pods[name], phase="Running", ready=True, scheduled=True)

    def fail(self, name: str, code: int = 1, reason: str = "Error", message: str = "") -> None:
        node = ContainerView("node-asr", "terminated", reason, message, code, finished_at=self.now)
        self.pods[name] = replace(self.pods[name], phase="Failed", ready=False, containers=(node,))
