"""An API server in memory: names, uids, resource versions, preconditions, conflicts, garbage collection by owner.

It has the methods of `Kube`, counts its calls, and can die before or after any one of them, as an operator that is
killed there would see it. Objects are what the real one would hold; a kubelet is played by the tests.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ringline_operator.kube import ApiError


class Killed(BaseException):
    """The operator's process ends here."""


class FakeApi:
    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.calls = 0
        self.die_before: int | None = None
        self.die_after: int | None = None
        self.dead = False
        self.refuse: dict[str, ApiError] = {}
        self.history: list[tuple[str, str, dict[str, Any]]] = []
        """What a watch would have told: kind, event, object."""
        self.graceful = False
        """Whether pods take their time to end, until `bury`."""
        self._version = 100
        self._uids = 0

    def _enter(self, kind: str) -> None:
        # A process that has ended sends nothing more, whatever it had under way.
        if self.dead:
            raise Killed
        self.calls += 1
        if self.calls == self.die_before:
            self.dead = True
            raise Killed
        if kind in self.refuse:
            raise self.refuse[kind]

    def _leave(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.calls == self.die_after:
            self.dead = True
            raise Killed
        return copy.deepcopy(body)

    def _store(self, kind: str, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._version += 1
        found = copy.deepcopy(dict(body))
        found["metadata"] = {**found["metadata"], "namespace": namespace, "resourceVersion": str(self._version)}
        known = self.objects.get((kind, namespace, found["metadata"]["name"]))
        self.objects[kind, namespace, found["metadata"]["name"]] = found
        self.history.append((kind, "MODIFIED" if known else "ADDED", copy.deepcopy(found)))
        return found

    def put_object(self, kind: str, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a user or a kubelet does: not counted, never refused."""
        self._uids += 1
        meta = {"uid": f"uid-{self._uids}", "generation": 1, "creationTimestamp": "2030-01-01T00:00:00Z"}
        return self._store(kind, namespace, {**body, "metadata": {**meta, **body["metadata"]}})

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Delete with everything that it owns."""
        gone = self.objects.get((kind, namespace, name))
        if gone is None:
            return
        if self.graceful and kind == "Pod" and "deletionTimestamp" not in gone["metadata"]:
            meta = {**gone["metadata"], "deletionTimestamp": "2100-01-01T00:00:00Z"}
            self._store(kind, namespace, {**gone, "metadata": meta})
            return
        del self.objects[kind, namespace, name]
        self._version += 1
        meta = {**gone["metadata"], "resourceVersion": str(self._version)}
        self.history.append((kind, "DELETED", {**gone, "metadata": meta}))
        uid = gone["metadata"]["uid"]
        for key, item in list(self.objects.items()):
            if any(owner["uid"] == uid for owner in item["metadata"].get("ownerReferences", ())):
                self.remove(*key)

    def bury(self) -> None:
        """Let the pods that are ending be gone."""
        for kind, namespace, name in list(self.objects):
            if "deletionTimestamp" in self.objects[kind, namespace, name]["metadata"]:
                self.remove(kind, namespace, name)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [copy.deepcopy(item) for (found, _, _), item in sorted(self.objects.items()) if found == kind]

    def _find(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        found = self.objects.get((kind, namespace, name))
        if found is None:
            raise ApiError(404, "NotFound", f"{kind} {name} not found")
        return found

    async def create(self, kind: str, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._enter(kind)
        if (kind, namespace, body["metadata"]["name"]) in self.objects:
            raise ApiError(409, "AlreadyExists", "exists")
        return self._leave(self.put_object(kind, namespace, body))

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        self._enter(kind)
        return self._leave(self._find(kind, namespace, name))

    async def patch(
        self, kind: str, namespace: str, name: str, body: Mapping[str, Any], *, sub: str = ""
    ) -> dict[str, Any]:
        self._enter(kind)
        found = self._find(kind, namespace, name)
        meta = body.get("metadata", {})
        if any(meta[key] != found["metadata"][key] for key in ("uid", "resourceVersion") if key in meta):
            raise ApiError(409, "Conflict", "the object has been modified")
        part = {"status": body.get("status", {})} if sub == "status" else body
        return self._leave(self._store(kind, namespace, merged(found, part)))

    async def put(self, kind: str, namespace: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._enter(kind)
        found = self._find(kind, namespace, name)
        if body["metadata"].get("resourceVersion") != found["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "the object has been modified")
        meta = {**found["metadata"], **body["metadata"]}
        return self._leave(self._store(kind, namespace, {**body, "metadata": meta}))

    async def apply(self, kind: str, namespace: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._enter(kind)
        found = self.objects.get((kind, namespace, name))
        made = self._store(kind, namespace, merged(found, body)) if found else self.put_object(kind, namespace, body)
        return self._leave(made)

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        self._enter(kind)
        found = self.objects.get((kind, namespace, name))
        if found is not None and found["metadata"]["uid"] == uid:
            self.remove(kind, namespace, name)
        self._leave({})


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """JSON merge patch (RFC 7386)."""
    result = copy.deepcopy(dict(base))
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result
