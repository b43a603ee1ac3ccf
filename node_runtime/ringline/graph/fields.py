"""The kinds of fields that the resource's models are made of, each with its check and its place in the JSON schema.

Called by `model`, `policies` and `pod`. A check says in one sentence what may be written; the schema says the same to
an API server in its own terms (pattern, maxLength, maxItems).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from ringline.names import MAX_NODE_NAME, node_name_problem, pipeline_name_problem
from ringline.quantities import format_quantity, parse_quantity
from ringline.wording import shown

NODE_PATTERN: Final = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


class Section(BaseModel):
    """A part of the resource: camelCase outside, exact types, no unknown fields."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        serialize_by_alias=True,
        defer_build=True,  # only the models that are used cost time at import
    )


def _checked(problem: Callable[[str], str | None]) -> AfterValidator:
    def check(value: str) -> str:
        text = problem(value)
        if text is not None:
            raise ValueError(text)
        return value

    return AfterValidator(check)


def _shape(pattern: str, longest: int, rule: str) -> AfterValidator:
    compiled = re.compile(pattern, re.ASCII)

    def problem(value: str) -> str | None:
        if not value:
            return f"is empty; write {rule}"
        if len(value) > longest:
            return f"has {len(value)} characters, at most {longest} are allowed"
        return None if compiled.fullmatch(value) else f"{value[:80]!a} is not allowed; write {rule}"

    return _checked(problem)


def _schema(pattern: str, longest: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "minLength": 1, "maxLength": longest, "pattern": f"^{pattern}$"})


def split_ref(ref: str) -> tuple[str, str]:
    """Split ``node.port`` into its two names."""
    node, _, port = ref.partition(".")
    return node, port


def _ref_problem(value: str) -> str | None:
    node, dot, port = value.partition(".")
    if not dot:
        return f"{value[:80]!a} names no port; write node.port"
    for what, name in (("node", node), ("port", port)):
        problem = node_name_problem(name)
        if problem is not None:
            return f"the {what}'s name {problem}"
    return None


def _plain_text(value: str) -> str | None:
    found = _CONTROL.search(value)
    if found is None:
        return None
    return f"holds the invisible character U+{ord(found[0]):04X}; remove it"


def _relative(value: str) -> str | None:
    if value.startswith("/") or ".." in value.split("/"):
        return f"{value[:80]!a} leaves its volume; write a path below it, without '..'"
    return _plain_text(value)


def _absolute(value: str) -> str | None:
    if not value.startswith("/") or ".." in value.split("/") or ":" in value:
        return f"{value[:80]!a} is not an absolute path without '..' and ':'"
    if value.rstrip("/") in ("", "/dev", "/dev/shm", "/proc", "/sys", "/etc", "/tmp"):  # noqa: S108
        return f"{value!a} belongs to the container; mount elsewhere, for example under /models"
    return _plain_text(value)


PipelineName = Annotated[str, _checked(pipeline_name_problem), _schema("[a-z0-9]([-a-z0-9]*[a-z0-9])?", 40)]
NodeName = Annotated[str, _checked(node_name_problem), _schema(NODE_PATTERN, MAX_NODE_NAME)]
PortRef = Annotated[str, _checked(_ref_problem), _schema(rf"{NODE_PATTERN}\.{NODE_PATTERN}", 2 * MAX_NODE_NAME + 1)]
_TYPE: Final = r"[A-Za-z0-9_][-A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_.]*)?"
TypeName = Annotated[
    str, _shape(_TYPE, 200, "a node type's name like energy_vad, or module:Class"), _schema(_TYPE, 200)
]
ObjectName = Annotated[
    str, _shape(_SUBDOMAIN, 253, "lower-case letters, digits, '-' and '.'"), _schema(_SUBDOMAIN, 253)
]
_KEY: Final = "[-._A-Za-z0-9]+"
DataKey = Annotated[str, _shape(_KEY, 253, "letters, digits, '-', '_' and '.'"), _schema(_KEY, 253)]
_ENV: Final = "[A-Za-z_][A-Za-z0-9_]*"
EnvName = Annotated[str, _shape(_ENV, 128, "letters, digits and '_', not beginning with a digit"), _schema(_ENV, 128)]
_IMAGE: Final = r"[A-Za-z0-9][-A-Za-z0-9._:/@]*"
ImageName = Annotated[str, _shape(_IMAGE, 512, "an image like registry/name:tag"), _schema(_IMAGE, 512)]
Text = Annotated[str, Field(max_length=1024), _checked(_plain_text)]


def _amount(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"must be a quantity like 500m or 256Mi, not {shown(value)}")  # noqa: TRY004  (for pydantic)
    return value


Amount = Annotated[
    str | int,
    BeforeValidator(_amount),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer", "minimum": 0, "maximum": 2**63 - 1}, {"type": "string", "maxLength": 32}],
        }
    ),
]
LongText = Annotated[str, Field(max_length=32768), _checked(_plain_text)]
PathText = Annotated[str, Field(min_length=1, max_length=1024), _checked(_plain_text)]
SubPath = Annotated[str, Field(max_length=1024), _checked(_relative)]
MountPath = Annotated[str, Field(min_length=1, max_length=1024), _checked(_absolute)]
Labels = Annotated[dict[Text, Text], Field(max_length=64)]
FreeObject = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]


def byte_quantity(least: int, most: int) -> Any:
    """Annotations of a size in bytes: any quantity between two bounds, kept as an integer, written with a suffix."""

    def bounds(value: int) -> int:
        if not least <= value <= most:
            written = format_quantity(value)
            raise ValueError(f"must be between {format_quantity(least)} and {format_quantity(most)}, not {written}")
        return value

    return Annotated[
        int,
        BeforeValidator(parse_quantity),
        AfterValidator(bounds),
        PlainSerializer(format_quantity, return_type=str),
        WithJsonSchema(
            {
                "x-kubernetes-int-or-string": True,
                "anyOf": [{"type": "integer", "minimum": least, "maximum": most}, {"type": "string", "maxLength": 32}],
            }
        ),
    ]
