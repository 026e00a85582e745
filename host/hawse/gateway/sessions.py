"""Who may read an account: whoever signed for it, until the session ends."""

import secrets
from dataclasses import dataclass

from hawse.keys import structs
from hawse.keys.eip712 import Domain
from hawse.keys.signing import recover_digest

from .accounts import Known
from .errors import Refused
from .limits import Limits
from .shapes import SessionRequest


@dataclass(frozen=True)
class Open:
    """A session: whose, of which account and which of its lives, and until when, in milliseconds."""

    token: str
    account: int
    generation: int
    signer: bytes
    expires: int


def check_signer(signer: bytes | None, known: Known, generation: int, now: int) -> int:
    """Until when somebody may act for an account, in milliseconds.

    Raises:
        Refused: signature, gone or signer; says who signed.
    """
    if signer is None:
        raise Refused(
            "signature", "no key fits the signature and message", have=None, need="0x" + known.owner.hex()
        )
    if generation != known.generation:
        raise Refused("gone", "the account has another generation", have=generation, need=known.generation)
    until = known.until(signer)
    who = {"signer": "0x" + signer.hex(), "have": "0x" + signer.hex(), "need": "0x" + known.owner.hex()}
    if until is None:
        raise Refused("signer", "who signed is neither the account's owner nor an agent of his", **who)
    if until < now:
        raise Refused(
            "signer", "the time of the agent who signed is over", **who | {"have": until, "need": now}
        )
    return until


class Sessions:
    """Open sessions, by token; kept in memory only, so that they end with the host.

    Args:
        domain: of the venue.
        gateway: id of this run, 32 bytes; a message to another run opens nothing.
        limits: on how many, and how long.
    """

    def __init__(self, domain: Domain, gateway: bytes, limits: Limits) -> None:
        self._domain, self._gateway, self._limits = domain, gateway, limits
        self._open: dict[str, Open] = {}
        self._of: dict[tuple[int, bytes], list[str]] = {}
        self._used: dict[bytes, int] = {}

    def open(self, asked: SessionRequest, known: Known, now: int) -> Open:
        """Open what a message asks for.

        Args:
            asked: the message.
            known: who may sign for its account.
            now: milliseconds.

        Raises:
            Refused: clock, signature, gone, signer, or session where the message has opened one before.
        """
        around = self._limits.clock_seconds * 1000
        if abs(asked.time - now) > around:
            raise Refused(
                "clock", f"time: more than {around} ms from the gateway's", have=asked.time, need=now
            )
        latest = now + self._limits.session_seconds * 1000
        if not now < asked.expiry <= latest:
            raise Refused("request", "expiry: not ahead, or too far", have=asked.expiry, need=latest)
        struct = structs.session(asked.account, asked.generation, asked.time, asked.expiry, self._gateway)
        signer = recover_digest(self._domain.digest(struct), bytes.fromhex(asked.signature[2:]))
        until = check_signer(signer, known, asked.generation, now)
        assert signer is not None
        self._use(struct, now, now - 2 * around)
        one = Open(secrets.token_hex(32), asked.account, asked.generation, signer, min(asked.expiry, until))
        mine = self._of.setdefault((one.account, signer), [])
        while len(mine) >= self._limits.sessions:
            self._open.pop(mine.pop(0), None)
        mine.append(one.token)
        self._open[one.token] = one
        return one

    def _use(self, struct: bytes, now: int, forget: int) -> None:
        """A message opens one session; the clock refuses those that are forgotten here."""
        if struct in self._used:
            raise Refused("session", "the message has opened a session before; sign one of another time")
        while self._used and self._used[oldest := next(iter(self._used))] < forget:
            del self._used[oldest]
        self._used[struct] = now

    def find(self, token: str, now: int) -> Open:
        """The session of a token.

        Raises:
            Refused: session: there is none, or its time is over.
        """
        one = self._open.get(token)
        if one is None:
            raise Refused("session", "no open session has this token")
        if one.expires <= now:
            self.end(token)
            raise Refused("session", "the session has expired", have=now, need=one.expires)
        return one

    def end(self, token: str) -> bool:
        """End a session; whether there was one."""
        one = self._open.pop(token, None)
        if one is not None:
            whose = one.account, one.signer
            self._of[whose].remove(token)
            if not self._of[whose]:
                del self._of[whose]
        return one is not None
