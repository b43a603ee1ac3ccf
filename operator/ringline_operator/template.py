"""From a `MediaPipeline` object to what new pods are made of: the checked resource and its plan, or its problems.

Pure, and remembered per generation: a status update of a pipeline costs no new plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ringline.errors import ManifestError, ResourceLimitError, RinglineError
from ringline.graph.model import MediaPipeline
from ringline.graph.plan import plan
from ringline.graph.session_plan import SessionPlan, SessionPolicy
from ringline.graph.validate import runtime_section
from ringline.quantities import round_quantity
from ringline.settings import resolve_settings
from ringline_operator.specs.pod import revision
from ringline_operator.views import PipelineView


@dataclass(frozen=True)
class Template:
    """One generation of a pipeline. `resource` and `plan` are None when it was refused; `problems` say why."""

    uid: str
    generation: int
    resource: MediaPipeline | None
    plan: SessionPlan | None
    revision: str
    problems: tuple[str, ...] = ()
    over_budget: bool = False

    @property
    def shm(self) -> dict[str, str]:
        """Shared memory of one session, for the status."""
        if self.plan is None:
            return {}
        sizes = {"needed": self.plan.layout.size_bytes, "size": self.plan.runtime.shm_segment_size}
        return {name: round_quantity(size) for name, size in sizes.items()}

    def view(self, body: Mapping[str, Any]) -> PipelineView:
        """Return what the decisions see of the object."""
        meta, spec = body["metadata"], body.get("spec") or {}
        return PipelineView(
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            generation=self.generation,
            revision=self.revision,
            replicas=spec.get("replicas", 1),
            suspend=spec.get("suspend", False),
            deleting="deletionTimestamp" in meta,
            recreate=(spec.get("updateStrategy") or {}).get("type") == "Recreate",
            session=self._policy(),
            problems=self.problems,
            over_budget=self.over_budget,
            manifest=body,
        )

    def _policy(self) -> SessionPolicy:
        if self.resource is None:
            return SessionPolicy()
        return SessionPolicy(**self.resource.spec.session.model_dump(by_alias=False))


def read_template(body: Mapping[str, Any], former: Template | None) -> Template:
    """Check and plan an object, unless `former` is of the same generation."""
    meta = body["metadata"]
    uid, generation = meta["uid"], meta.get("generation", 0)
    if former is not None and (former.uid, former.generation) == (uid, generation):
        return former
    over_budget = False
    try:
        resource = MediaPipeline.model_validate(_manifest(body))
        settings = resolve_settings(manifest=runtime_section(resource), environ={})
        session = plan(resource, settings)
    except ValidationError as error:
        problems = tuple(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    except ManifestError as error:
        problems = tuple(map(str, error.problems))
    except RinglineError as error:
        problems, over_budget = (str(error),), isinstance(error, ResourceLimitError)
    else:
        return Template(uid, generation, resource, session, revision(resource.spec))
    return Template(uid, generation, None, None, former.revision if former else "", problems, over_budget)


def _manifest(body: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("name", "namespace", "labels")
    return {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": {key: body["metadata"][key] for key in kept if key in body["metadata"]},
        "spec": body.get("spec") or {},
    }
