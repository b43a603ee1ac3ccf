"""Where the operator finds the API server: a pod's service account first, at the address that the kubelet tells."""

from __future__ import annotations

import kopf
import pytest

from ringline_operator.credentials import credentials

ACCOUNT = kopf.ConnectionInfo(server="https://kubernetes.default.svc", token="t", ca_path="/ca.crt")
CONFIG = kopf.ConnectionInfo(server="https://from-kubeconfig:6443")


@pytest.fixture
def in_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: ACCOUNT)
    monkeypatch.setattr(kopf, "login_with_kubeconfig", lambda **_: CONFIG)


def server(**environ: str) -> str:
    info = credentials(kopf.OperatorSettings(), environ)
    assert info is not None
    return str(info.server)


@pytest.mark.usefixtures("in_a_pod")
def test_in_a_pod_no_dns_is_needed() -> None:
    assert server(KUBERNETES_SERVICE_HOST="10.96.0.1", KUBERNETES_SERVICE_PORT="443") == "https://10.96.0.1:443"


@pytest.mark.usefixtures("in_a_pod")
def test_an_address_of_version_6_gets_its_brackets() -> None:
    assert server(KUBERNETES_SERVICE_HOST="fd00::1", KUBERNETES_SERVICE_PORT="6443") == "https://[fd00::1]:6443"


@pytest.mark.usefixtures("in_a_pod")
def test_the_rest_of_the_account_stays() -> None:
    info = credentials(kopf.OperatorSettings(), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert info is not None
    assert (info.token, info.ca_path) == ("t", "/ca.crt")


@pytest.mark.usefixtures("in_a_pod")
def test_without_an_address_the_name_is_used() -> None:
    assert server() == "https://kubernetes.default.svc"


def test_outside_a_pod_the_kubeconfig_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: None)
    monkeypatch.setattr(kopf, "login_with_kubeconfig", lambda **_: CONFIG)
    assert server(KUBERNETES_SERVICE_HOST="10.96.0.1") == "https://from-kubeconfig:6443"
    monkeypatch.setattr(kopf, "login_with_kubeconfig", lambda **_: None)
    assert credentials(kopf.OperatorSettings(), {}) is None
