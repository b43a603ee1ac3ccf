"""The chart grants exactly what the documentation says, in every mode, and nothing that reads Secrets or enters pods."""

from __future__ import annotations

import re

import pytest

from tests.chart.helm import NAMESPACE, grants, of, render
from tests.helpers.tree import ROOT

ROW = re.compile(r"^\| (?!resource )([a-z0-9./]+)( \(its own, by name\))? \| ([a-z, ]+) \| (.+) \|$", re.MULTILINE)
PLACES = {"watched namespaces": "watched", "the operator's namespace": "own"}
LEASE = frozenset({"ringline-operator"})


def documented(*, watched: list[str], cluster: bool) -> set[tuple[str, str, frozenset[str], frozenset[str]]]:
    """Return the rows of the documentation's table as rights."""
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    table = page[page.index("## Rights") : page.index("## Trust")]
    found = set()
    for resource, named, verbs, place in ROW.findall(table):
        where = {"watched": watched, "own": [NAMESPACE]}.get(PLACES.get(place, ""), ["cluster"] if cluster else [])
        names = LEASE if named else frozenset()
        found |= {(scope, resource, frozenset(verbs.split(", ")), names) for scope in where}
    return found


def test_the_table_has_all_its_rows() -> None:
    assert len(documented(watched=["cluster"], cluster=True)) == 13


def test_a_whole_cluster_is_watched_with_exactly_the_documented_rights() -> None:
    assert set(grants(render())) == documented(watched=["cluster"], cluster=True)


def test_some_namespaces_are_watched_without_any_right_elsewhere() -> None:
    objects = render("watch.cluster=false", "watch.namespaces={team-a,team-b}")
    assert set(grants(objects)) == documented(watched=["team-a", "team-b"], cluster=False)
    assert of(objects, "ClusterRole") == of(objects, "ClusterRoleBinding") == []


def test_without_names_the_operators_own_namespace_is_watched() -> None:
    objects = render("watch.cluster=false")
    assert set(grants(objects)) == documented(watched=[NAMESPACE], cluster=False)


@pytest.mark.parametrize("values", [(), ("watch.cluster=false", "watch.namespaces={team-a}")])
def test_no_right_is_a_wildcard_or_reads_secrets_or_enters_pods(values: tuple[str, ...]) -> None:
    rights = list(grants(render(*values)))
    assert not [right for right in rights if "*" in right[1] or "*" in right[2]]
    kinds = {right[1] for right in rights}
    assert kinds.isdisjoint(
        {"secrets", "configmaps", "nodes", "serviceaccounts", "pods/exec", "pods/log", "pods/attach"}
    )


def test_every_role_is_bound_to_the_operators_account_and_to_nobody_else() -> None:
    objects = render("watch.cluster=false", "watch.namespaces={team-a,team-b}")
    bindings = of(objects, "RoleBinding")
    roles = {(role["metadata"]["namespace"], role["metadata"]["name"]) for role in of(objects, "Role")}
    assert {(item["metadata"]["namespace"], item["roleRef"]["name"]) for item in bindings} == roles
    subjects = [(who["kind"], who["name"], who["namespace"]) for item in bindings for who in item["subjects"]]
    assert set(subjects) == {("ServiceAccount", "ringline-operator", NAMESPACE)}


def test_rights_can_be_left_to_others() -> None:
    objects = render("rbac.create=false", "serviceAccount.create=false", "serviceAccount.name=mine")
    assert of(objects, "Role") == of(objects, "ClusterRole") == of(objects, "ServiceAccount") == []
    (deployment,) = of(objects, "Deployment")
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == "mine"
