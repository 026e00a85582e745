"""What the gateway refuses, with a code that programs know and both numbers."""

from collections.abc import Mapping
from typing import Any

#: What each code of the gateway's own means, and its HTTP status. All others are reasons of the venue, in
#: lower case, as ``docs/wire.md`` has them.
CODES: Mapping[str, tuple[int, str]] = {
    "line": (400, "the body is no message of a kind that there is; says which field is wrong"),
    "request": (400, "a parameter is unknown, missing or out of range"),
    "clock": (400, "the time of a session's message is too far from the gateway's"),
    "session": (401, "no session, one that has ended, or a message that has opened one before"),
    "signature": (401, "no key fits the signature"),
    "signer": (403, "who signed is neither the account's owner nor an agent of his"),
    "account": (404, "there is no such account"),
    "not_found": (404, "there is nothing at this path, or of this number"),
    "method": (405, "the path takes another method"),
    "slow": (408, "the rest of a request did not come in time"),
    "gone": (409, "the account has another generation now"),
    "too_large": (413, "the body is larger than any message"),
    "rate": (429, "more requests than one address may make"),
    "connections": (429, "more connections than one address may hold"),
    "internal": (500, "a fault of the gateway; the venue goes on, and what it took stands"),
    "busy": (503, "more commands wait for a slot than may, or no slot is carried out"),
    "stopping": (503, "the host ends; the command was not taken"),
}
#: HTTP status of what the venue refused or rejected.
REFUSED = 422


class Refused(Exception):
    """Something that the gateway does not do.

    Attributes:
        code: one of :data:`CODES`.
        status: the HTTP status that goes with it.
        numbers: ``have`` and ``need``, and what else a program may want.
    """

    def __init__(self, code: str, message: str, **numbers: Any) -> None:
        super().__init__(message)
        self.code, self.numbers = code, numbers
        self.status = CODES[code][0]

    def told(self, time: int, slot_time: int) -> dict[str, Any]:
        """As its receiver gets it, with both clocks in milliseconds."""
        error = {"code": self.code, "message": str(self)} | self.numbers
        return {"error": error, "time": time, "slot_time": slot_time}
