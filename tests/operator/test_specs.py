"""The objects that the operator makes: confined, limited, owned, and complete enough to run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ringline.graph.nodeconfig import NodeConfig
from ringline.quantities import parse_quantity
from ringline_operator.actions import EmitEvent
from ringline_operator.specs.events import LONGEST, event
from ringline_operator.specs.networkpolicy import network_policy
from ringline_operator.specs.pod import PodIdentity, PodSettings, revision, session_pod
from ringline_operator.specs.session import replica_session
from ringline_operator.template import Template
from tests.helpers.tree import ROOT
from tests.operator.manifests import NODES, body, template

IMAGE = "registry.example/ringline:1"
EXAMPLES = sorted((ROOT / "examples").glob("*/pipeline.yaml"))


def pod(made: Template | None = None, *, fixed_user: bool = True, **who: Any) -> dict[str, Any]:
    made = made or template()
    assert made.resource is not None
    assert made.plan is not None
    identity = replace(PodIdentity("voice-abcde", "uid-1", 0), **who)
    return session_pod(made.resource, made.plan, identity, PodSettings(IMAGE, fixed_user))


def containers(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [*found["spec"]["initContainers"], *found["spec"]["containers"]]


def by_name(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in containers(found) if item["name"] == name)


def env_of(container: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key, item
            yield from walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from walk(item)


def all_pods() -> list[Any]:
    built = [pytest.param(pod(), id="plain")]
    for path in EXAMPLES:
        manifest = next(yaml.safe_load_all(path.read_text()))
        spec = {"channels": [], **manifest["spec"]}
        built.append(pytest.param(pod(template(manifest["metadata"]["name"], **spec)), id=path.parent.name))
    rich = template(
        ingress={"enabled": True, "tokenSecretRef": {"name": "door", "key": "token"}},
        pod={
            "codeConfigMapRef": {"name": "my-nodes"},
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "m"}}],
        },
        nodes=[
            NODES[0] | {"volumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}]},
            NODES[1] | {"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "voice", "key": "key"}}}]},
        ],
    )
    built.append(pytest.param(pod(rich), id="rich"))
    return built


PODS = all_pods()


@pytest.mark.parametrize("found", PODS)
def test_every_pod_meets_pod_security_restricted(found: dict[str, Any]) -> None:
    spec = found["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "serviceAccountName"} & set(spec)
    for container in containers(found):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
        assert "privileged" not in security
    allowed = {"emptyDir", "downwardAPI", "configMap", "secret", "persistentVolumeClaim"}
    for volume in spec["volumes"]:
        assert set(volume) - {"name"} <= allowed


@pytest.mark.parametrize("found", PODS)
def test_no_pod_can_reach_the_api_server_or_grow_without_limit(found: dict[str, Any]) -> None:
    spec = found["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    for container in containers(found):
        assert parse_quantity(container["resources"]["limits"]["memory"]) >= 32 << 20
        requested = parse_quantity(container["resources"]["requests"]["memory"])
        assert requested <= parse_quantity(container["resources"]["limits"]["memory"])
    for volume in spec["volumes"]:
        if "emptyDir" in volume:
            assert parse_quantity(volume["emptyDir"]["sizeLimit"]) > 0


@pytest.mark.parametrize("found", PODS)
def test_every_container_sees_the_arena_a_scratch_folder_and_the_plan(found: dict[str, Any]) -> None:
    volumes = {volume["name"] for volume in found["spec"]["volumes"]}
    for container in containers(found):
        mounts = {item["mountPath"]: item for item in container["volumeMounts"]}
        assert {"/dev/shm", "/tmp", "/etc/ringline"} <= set(mounts)
        assert mounts["/etc/ringline"]["readOnly"] is True
        assert {item["name"] for item in container["volumeMounts"]} <= volumes


@pytest.mark.parametrize("found", PODS)
def test_probes_ask_each_container_at_a_port_of_its_own(found: dict[str, Any]) -> None:
    ports: list[int] = []
    for container in containers(found):
        asked = {container[kind]["httpGet"]["port"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
        assert len(asked) == 1
        ports += asked
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize("found", PODS)
def test_the_annotation_holds_exactly_the_nodes_document(found: dict[str, Any]) -> None:
    document = found["metadata"]["annotations"]["ringline.dev/plan"].encode()
    config = NodeConfig.from_bytes(document)
    assert config.to_bytes() == document
    names = [item["name"].removeprefix("node-") for item in found["spec"]["containers"]]
    assert names == [name.replace("_", "-") for name in config.nodes]


def test_the_gateway_is_a_native_sidecar_that_drains_before_it_stops() -> None:
    gateway = by_name(pod(), "gateway")
    assert gateway["restartPolicy"] == "Always"
    assert gateway["lifecycle"]["preStop"]["exec"]["command"][-1] == "drain"
    assert pod()["spec"]["restartPolicy"] == "Never"


def test_the_arena_is_charged_to_the_gateway_and_bounds_its_volume() -> None:
    made = template()
    assert made.plan is not None
    arena = made.plan.layout.size_bytes
    found = pod(made)
    assert parse_quantity(by_name(found, "gateway")["resources"]["limits"]["memory"]) > arena
    shm = next(item for item in found["spec"]["volumes"] if item["name"] == "shm")
    assert shm["emptyDir"]["medium"] == "Memory"
    assert parse_quantity(shm["emptyDir"]["sizeLimit"]) >= arena


@pytest.mark.parametrize(("grace", "whole"), [(0, 5), (5, 10), (30, 35)])
def test_the_pods_grace_is_the_sessions_and_five_seconds(grace: int, whole: int) -> None:
    found = pod(template(runtime={"cleanupGracePeriodSeconds": grace}))
    assert found["spec"]["terminationGracePeriodSeconds"] == whole


def test_probes_follow_the_settings() -> None:
    settings = {
        "initTimeoutSeconds": 60,
        "healthCheckIntervalSeconds": 7,
        "healthCheckTimeoutSeconds": 4,
        "maxHealthFailures": 3,
    }
    container = by_name(pod(template(runtime=settings)), "node-vad")
    assert container["startupProbe"]["failureThreshold"] == 65
    live = container["livenessProbe"]
    assert (live["periodSeconds"], live["timeoutSeconds"], live["failureThreshold"]) == (7, 4, 3)
    assert live["terminationGracePeriodSeconds"] == 1


def test_a_node_is_told_who_it_is_and_nothing_of_the_operator() -> None:
    found = env_of(by_name(pod(), "node-loud-meter"))
    assert found["RINGLINE_NODE"] == "loud_meter"
    assert found["RINGLINE_SESSION_DIR"] == "/dev/shm/ringline"
    assert found["RINGLINE_SESSION_ID"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert not [name for name in found if "OPERATOR" in name or "TOKEN" in name]


def test_secrets_are_only_ever_referred_to() -> None:
    reference = {"secretKeyRef": {"name": "voice", "key": "key"}}
    nodes = [NODES[0], NODES[1] | {"env": [{"name": "KEY", "valueFrom": reference}, {"name": "PLAIN", "value": "x"}]}]
    found = pod(template(nodes=nodes))
    assert env_of(by_name(found, "node-loud-meter"))["KEY"]["secretKeyRef"].items() >= reference["secretKeyRef"].items()
    assert env_of(by_name(found, "node-loud-meter"))["PLAIN"] == "x"
    assert "KEY" in json.loads(found["metadata"]["annotations"]["ringline.dev/plan"])["nodes"][1]["secret_env"]
    assert "KEY" not in env_of(by_name(found, "node-vad"))


def test_the_ingress_is_closed_unless_asked_for() -> None:
    closed = by_name(pod(), "gateway")
    assert [item["name"] for item in closed["ports"]] == ["metrics"]
    assert "RINGLINE_INGRESS_TOKEN" not in env_of(closed)
    door = {"enabled": True, "tokenSecretRef": {"name": "door", "key": "token"}}
    opened = by_name(pod(template(ingress=door)), "gateway")
    assert {item["name"] for item in opened["ports"]} == {"metrics", "ingress"}
    assert env_of(opened)["RINGLINE_INGRESS_TOKEN"] == {"secretKeyRef": {"name": "door", "key": "token"}}


def test_scheduling_is_passed_on_from_the_allow_list() -> None:
    wishes = {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "priorityClassName": "calls",
        "runtimeClassName": "nvidia",
        "imagePullSecrets": [{"name": "pull"}],
    }
    spec = pod(template(pod=wishes))["spec"]
    assert spec["nodeSelector"] == {"disk": "fast"}
    assert spec["priorityClassName"] == "calls"
    assert spec["runtimeClassName"] == "nvidia"
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["tolerations"][0]["key"] == "gpu"


def test_gpu_limits_and_memory_requests_reach_the_container() -> None:
    limits = {"memory": "300Mi", "nvidia.com/gpu": 1}
    found = pod(template(nodes=[NODES[0] | {"resources": {"limits": limits}}, NODES[1]]))
    resources = by_name(found, "node-vad")["resources"]
    assert resources["limits"] == limits
    assert resources["requests"]["memory"] == "300Mi"


def test_a_platform_that_assigns_users_gets_no_user() -> None:
    security = pod(fixed_user=False)["spec"]["securityContext"]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(security)
    assert pod()["spec"]["securityContext"]["runAsUser"] >= 10000


def test_a_claimed_pod_asks_not_to_be_moved() -> None:
    kept = "cluster-autoscaler.kubernetes.io/safe-to-evict"
    assert pod(claimed=True)["metadata"]["annotations"][kept] == "false"
    assert kept not in pod()["metadata"]["annotations"]
    assert pod(claimed=True)["metadata"]["labels"]["ringline.dev/claimed"] == "true"


def test_parameters_travel_as_an_annotation() -> None:
    found = pod(claimed=True, parameters={"greeting": "Grüß Gott", "n": [1, None]})
    assert json.loads(found["metadata"]["annotations"]["ringline.dev/parameters"]) == {
        "greeting": "Grüß Gott",
        "n": [1, None],
    }


def test_a_deadline_is_the_kubelets_to_keep() -> None:
    assert "activeDeadlineSeconds" not in pod()["spec"]
    assert pod(template(session={"activeDeadlineSeconds": 90}))["spec"]["activeDeadlineSeconds"] == 90


def test_pods_and_sessions_belong_to_their_owners() -> None:
    (owner,) = pod()["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == (
        "MediaSession",
        "voice-abcde",
        "uid-1",
        True,
    )
    view = template().view(body())
    (owner,) = replica_session(view, "voice-abcde")["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("MediaPipeline", "uid-voice")


CHANGES: list[tuple[dict[str, Any], bool]] = [
    ({"replicas": 7}, False),
    ({"suspend": True}, False),
    ({"updateStrategy": {"type": "Recreate"}}, False),
    ({"session": {"ttlSecondsAfterFinished": 5}}, False),
    ({"runtime": {"channelCapacity": 7}}, True),
    ({"nodes": [NODES[0] | {"config": {"hangover_ms": 100}}, NODES[1]]}, True),
    ({"pod": {"nodeSelector": {"a": "b"}}}, True),
    ({"channels": [{"from": "vad.speech", "to": "loud_meter.audio", "capacity": 3}]}, True),
]


@pytest.mark.parametrize(("change", "differs"), CHANGES)
def test_the_revision_changes_with_what_pods_are_made_of(change: dict[str, Any], differs: bool) -> None:
    assert (template(**change).revision != template().revision) is differs


def test_the_revision_of_the_same_spec_is_always_the_same() -> None:
    first, second = template(), template()
    assert first.resource is not None
    assert first.revision == second.revision == revision(first.resource.spec)


def test_the_network_policy_denies_both_ways_by_default() -> None:
    made = template()
    policy = network_policy(made.view(body()), made, "watchers")
    spec = policy["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert {port["port"] for rule in spec["egress"] for port in rule["ports"]} == {53}
    (rule,) = spec["ingress"]
    assert [port["port"] for port in rule["ports"]] == [9090]
    names = [value for key, value in walk(rule) if key == "kubernetes.io/metadata.name"]
    assert names == ["watchers"]
    assert policy["metadata"]["ownerReferences"][0]["uid"] == "uid-voice"


def test_the_network_policy_opens_the_ingress_when_it_is_on() -> None:
    made = template(ingress={"enabled": True, "tokenSecretRef": {"name": "door", "key": "token"}})
    policy = network_policy(made.view(body()), made, "watchers")
    assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == {9090, 9443}


def happened(message: str = "it fell", reason: str = "Fell", uid: str = "u") -> EmitEvent:
    return EmitEvent("MediaSession", "call", uid, "Warning", reason, message)


def test_the_same_thing_said_twice_is_one_event() -> None:
    first, second = event("studio", happened(), 0), event("studio", happened(), 100)
    assert first["metadata"]["name"] == second["metadata"]["name"]
    assert first["lastTimestamp"] != second["lastTimestamp"]


@pytest.mark.parametrize("other", [happened("it flew"), happened(reason="Flew"), happened(uid="v")])
def test_different_things_are_different_events(other: EmitEvent) -> None:
    assert event("studio", happened(), 0)["metadata"]["name"] != event("studio", other, 0)["metadata"]["name"]


@given(st.text(max_size=5000))
def test_events_are_never_too_long(text: str) -> None:
    made = event("studio", happened(text), 0)
    assert len(made["message"]) <= LONGEST
    assert made["involvedObject"]["name"] == "call"
