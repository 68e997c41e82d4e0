"""JSON Schemas of the messages, in the dialect that Foxglove reads.

Foxglove refuses a channel whose schema holds references, alternatives, nested arrays or a value
without a type. So references are put in place, ``None`` is not written at all (``without_nulls``),
and what cannot be said otherwise is left undescribed: it is in the data, JSON Schema allows more
than is described.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

Schema = dict[str, Any]

_SCALARS: Final = {"boolean", "string", "number", "integer"}
_JSON_TYPES: Final = {bool: "boolean", str: "string", int: "integer", float: "number"}


def foxglove_schema(kind: type[msgspec.Struct]) -> Schema:
    """The JSON Schema (2020-12) of a message as ``encode`` writes it: one object, no references."""
    _, definitions = msgspec.json.schema_components([kind], ref_template="{name}")
    described = _describe(definitions[kind.__name__], definitions)
    if described is None:
        raise TypeError(f"{kind.__name__} is not an object")
    return described


def encode(message: msgspec.Struct) -> bytes:
    """The message as JSON, without the fields that are None."""
    return msgspec.json.encode(without_nulls(msgspec.to_builtins(message)))


def without_nulls(value: Any) -> Any:
    """A JSON value without those members of objects that are None."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item) for item in value]
    return value


def _describe(node: Schema, definitions: dict[str, Schema]) -> Schema | None:
    """The part of a schema that Foxglove reads, or None where there is none."""
    if "$ref" in node:
        return _describe(definitions[node["$ref"]], definitions)
    if "anyOf" in node:
        kinds = [kind for kind in node["anyOf"] if kind.get("type") != "null"]
        return _describe(kinds[0], definitions) if len(kinds) == 1 else None
    if "enum" in node:
        kind = _JSON_TYPES.get(type(node["enum"][0]))
        return None if kind is None else {"type": kind, "enum": node["enum"]}
    if node.get("type") in _SCALARS:
        return {"type": node["type"]}
    if node.get("type") == "array":
        return _describe_array(node, definitions)
    if node.get("type") == "object":
        return _describe_object(node, definitions)
    return None


def _describe_array(node: Schema, definitions: dict[str, Schema]) -> Schema | None:
    items = node.get("items")
    if "prefixItems" in node:  # a tuple: an array if all its members are alike
        items = node["prefixItems"][0]
        if any(item != items for item in node["prefixItems"]):
            return None
    if not isinstance(items, dict) or "anyOf" in items:
        return None  # members that may be null
    described = _describe(items, definitions)
    if described is None or described["type"] == "array":
        return None
    return {"type": "array", "items": described}


def _describe_object(node: Schema, definitions: dict[str, Schema]) -> Schema:
    described = {
        name: kind
        for name, field in node.get("properties", {}).items()
        if (kind := _describe(field, definitions)) is not None
    }
    return {
        "title": node.get("title", ""),
        "description": node.get("description", ""),
        "type": "object",
        "properties": described,
        "required": [name for name in node.get("required", []) if name in described],
    }
