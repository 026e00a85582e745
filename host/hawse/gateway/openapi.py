"""The gateway's paths as OpenAPI 3.1, made of the routes and their structs."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from hawse.keys.members import MEMBERS
from hawse.keys.messages import LEG, LEGS, MessageKind

from .errors import CODES
from .rest import Nothing, Route
from .shapes import Problem

#: Where a schema is.
REF = "#/components/schemas/{name}"
#: Codes that any path may answer.
_ALWAYS = ("request", "rate", "too_large", "busy", "internal", "not_found", "slow")


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole of it."""
    types = [
        kind for route in routes for kind in (*route.says.values(), route.body) if kind not in (None, bytes)
    ]
    types += [route.takes for route in routes] + [Problem]
    schemas, parts = msgspec.json.schema_components(types, ref_template=REF)
    by_type = dict(zip(map(_key, types), schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type, parts)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hawse gateway",
            "version": "1",
            "description": "Prices in ticks, quantities in lots, money in quanta, times in milliseconds.",
        },
        "paths": paths,
        "components": {
            "schemas": parts | {"Command": signed_line()},
            "securitySchemes": {"session": {"type": "http", "scheme": "bearer"}},
        },
    }


def _key(kind: Any) -> str:
    return str(kind)


def _operation(route: Route, by_type: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    says = {str(status): _says(by_type[_key(kind)], "as asked") for status, kind in route.says.items()}
    codes = dict.fromkeys(
        (*_ALWAYS, *route.errors, *(("session", "gone", "account") if route.private else ()))
    )
    for code in codes:
        status = str(CODES[code][0])
        told = says.setdefault(status, _says(by_type[_key(Problem)], ""))
        told["description"] = "; ".join(filter(None, (told["description"], f"{code}: {CODES[code][1]}")))
    out: dict[str, Any] = {"summary": route.summary, "operationId": _name(route), "responses": says}
    if route.takes is not Nothing:
        out["parameters"] = [*_parameters(route, parts[route.takes.__name__])]
    if route.body is not None:
        schema = {"$ref": REF.format(name="Command")} if route.body is bytes else by_type[_key(route.body)]
        out["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if route.private:
        out["security"] = [{"session": []}]
    return out


def _says(schema: Any, description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _parameters(route: Route, struct: dict[str, Any]) -> list[dict[str, Any]]:
    told = []
    for name, schema in struct["properties"].items():
        inside = f"{{{name}}}" in route.path
        required = inside or name in struct.get("required", ())
        told.append(
            {"name": name, "in": "path" if inside else "query", "required": required, "schema": schema}
        )
    return told


def _name(route: Route) -> str:
    words = [word.strip("{}") for word in route.path.split("/")[2:]]
    return "_".join((route.method.lower(), *words))


def signed_line() -> dict[str, Any]:
    """A signed line of any kind."""
    return {"oneOf": [_command(kind) for kind in MEMBERS]}


@cache
def _command(kind: MessageKind) -> dict[str, Any]:
    """A signed line of one kind."""
    properties: dict[str, Any] = {"kind": {"const": kind.name.lower()}}
    for member in MEMBERS[kind]:
        if member.leg is None:
            properties[member.field] = _member(member.solidity, member.enum)
    if kind is MessageKind.MULTI_LEG:
        leg = {name: _integer(_bits(LEG[name].itemsize, LEG[name].kind == "i")) for name in LEG.names or ()}
        one = {"type": "object", "properties": leg, "required": [*leg], "additionalProperties": False}
        properties["legs"] = {"type": "array", "maxItems": LEGS, "items": one}
    properties["signature"] = {"type": "string", "pattern": "^0x[0-9a-fA-F]{128}$"}
    required = ["kind", "account", "generation", "nonce", "expiry", "signature"]
    return {
        "type": "object",
        "title": kind.name.lower(),
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _bits(size: int, signed: bool) -> tuple[int, int]:
    bits = 8 * size
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def _integer(limits: tuple[int, int]) -> dict[str, Any]:
    return {"type": "integer", "minimum": limits[0], "maximum": limits[1]}


def _member(solidity: str, names: Any) -> dict[str, Any]:
    if names is not None:
        return {"enum": [one.name.lower() for one in names]}
    if solidity == "bool":
        return {"type": "boolean"}
    if solidity == "address":
        return {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}
    return _integer(_bits(int(solidity.lstrip("uint")) // 8, solidity.startswith("int")))
