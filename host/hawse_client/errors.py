"""What may go wrong."""

from typing import Any


class ClientError(Exception):
    """Something that the client was asked for cannot be had."""


class Unreachable(ClientError):
    """The gateway does not answer, and has not for as long as the client was to wait."""


class Refused(ClientError):
    """The gateway or the venue refused.

    Attributes:
        code: why, as ``docs/gateway.md`` lists.
        have, need: the two numbers behind it, where there are any.
        told: all that was said.
    """

    def __init__(self, told: dict[str, Any]) -> None:
        error = told["error"]
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: str = error["code"]
        self.have, self.need = error.get("have"), error.get("need")
        self.told = told
