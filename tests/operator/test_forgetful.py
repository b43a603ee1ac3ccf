"""kopf is given nothing to remember: no copy of an object is taken, and none of its fields is written."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import kopf

from ringline_operator.forgetful import NoDifferences, NoProgress


class Untouchable(dict[str, Any]):
    """An object that must not be copied."""

    def __deepcopy__(self, memo: object) -> Untouchable:
        raise AssertionError("the object was copied")


BODY: Any = Untouchable(metadata=Untouchable(name="call"), spec=Untouchable(large="x" * 100))


def test_no_picture_is_taken_of_an_object() -> None:
    storage: Any = NoDifferences()
    assert storage.build(body=kopf.Body(BODY), extra_fields=None) == {}
    assert storage.fetch(body=kopf.Body(BODY)) is None


def test_what_kopf_would_note_goes_nowhere() -> None:
    patch = kopf.Patch()
    NoDifferences().store(body=kopf.Body(BODY), patch=patch, essence=BODY)
    progress: Any = NoProgress()
    for method in (progress.store, progress.purge, progress.touch):
        method(body=kopf.Body(BODY), patch=patch, key="handler")
    assert progress.fetch(key="handler", body=kopf.Body(BODY)) is None
    progress.flush()
    assert not patch


def test_a_picture_is_left_as_it_is() -> None:
    picture = MappingProxyType({"spec": 1})
    assert NoProgress().clear(essence=picture) is picture


async def test_the_operator_gives_both_to_kopf() -> None:
    from ringline_operator import app

    settings = kopf.OperatorSettings()
    begin: Any = app.begin
    await begin(settings)
    assert isinstance(settings.persistence.diffbase_storage, NoDifferences)
    assert isinstance(settings.persistence.progress_storage, NoProgress)
    assert not settings.posting.enabled, "our Events are written by our own hand"
