"""A node's module that can't be imported."""

from __future__ import annotations

import a_module_that_nobody_has  # type: ignore[import-not-found]  # noqa: F401

from ringline import MultiprocessNode, register_node


@register_node("fails_to_import")
class FailsToImport(MultiprocessNode):
    """Never defined."""
