"""The gateway's WebSocket as AsyncAPI 3.0, made of the structs that it carries."""

from collections.abc import Iterable
from typing import Any

import msgspec

from hawse.keys.messages import ROW_BYTES

from .messages import ASKS, TOLD, Command, Wrong
from .openapi import REF, signed_line

_ROWS = {
    "name": "Rows",
    "summary": f"Rows of signed commands of {ROW_BYTES} bytes each, in a binary frame.",
    "contentType": "application/octet-stream",
    "payload": {"type": "string", "format": "binary", "minLength": ROW_BYTES, "maxLength": 8192},
}


def document() -> dict[str, Any]:
    """The whole of it."""
    structs: list[type[msgspec.Struct]] = [*ASKS, *ASKS.values(), Wrong, *TOLD]
    _, schemas = msgspec.json.schema_components(structs, ref_template=REF)
    schemas["SignedLine"] = signed_line()
    messages = {kind.__name__: _message(schemas[kind.__name__]) for kind in structs} | {"Rows": _ROWS}
    operations = {_name(asked): _asked(asked.__name__, answer) for asked, answer in ASKS.items()}
    operations["rows"] = _asked("Rows", ASKS[Command])
    operations["tell"] = {"action": "send", **_over(kind.__name__ for kind in TOLD)}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Hawse gateway",
            "version": "1",
            "description": "Prices in ticks, quantities in lots, money in quanta, times in milliseconds."
            " What is asked by HTTP is in /openapi.json.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "stream": {
                "address": "/v1/stream",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET"}},
            }
        },
        "operations": operations,
        "components": {"messages": messages, "schemas": _draft_7(schemas)},
    }


def _name(asked: type[msgspec.Struct]) -> str:
    return str(asked.__struct_config__.tag)


def _message(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema["title"]
    return {
        "name": name,
        "summary": schema["description"],
        "payload": {"$ref": REF.format(name=name)},
    }


def _asked(message: str, answer: type[msgspec.Struct]) -> dict[str, Any]:
    """What the gateway takes, and how it answers."""
    return {"action": "receive", **_over([message]), "reply": _over([answer.__name__, Wrong.__name__])}


def _over(messages: Iterable[str]) -> dict[str, Any]:
    channel = "#/channels/stream"
    return {
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in messages],
    }


def _draft_7(schema: Any) -> Any:
    """A schema as AsyncAPI has them, where a tuple's items are a list."""
    if isinstance(schema, list):
        return [_draft_7(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    told = {name: _draft_7(part) for name, part in schema.items()}
    if "prefixItems" in told:
        told["items"], told["additionalItems"] = told.pop("prefixItems"), False
    return told
