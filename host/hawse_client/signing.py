"""Who trades, and what he signs: the venue's own lines and EIP-712 messages."""

import json
from typing import Any

from coincurve import PrivateKey
from hawse.keys import lines, structs
from hawse.keys.eip712 import Domain
from hawse.keys.signing import address, sign, sign_digest


def address_of(key: bytes) -> str:
    """Address of a private key of 32 bytes, 0x and 40 digits.

    Raises:
        ValueError: it is none.
    """
    if len(key) != 32:
        raise ValueError(f"key: {len(key)} bytes, not 32")
    return "0x" + address(PrivateKey(key).public_key).hex()


class Signer:
    """A key that trades for one life of one account.

    Args:
        key: private, 32 bytes: the owner's, or an agent's.
        domain: of the venue.
        account, generation: which account, and which of its lives.
    """

    def __init__(self, key: bytes, domain: Domain, account: int, generation: int) -> None:
        self._key, self._domain = key, domain
        self.account, self.generation = account, generation
        self._nonce = 0

    def line(self, now: int, good_for: int, fields: dict[str, Any], ahead: int = 0) -> dict[str, Any]:
        """A command, signed.

        Args:
            now: of the gateway's clock, milliseconds.
            good_for: milliseconds until it expires.
            fields: ``kind`` and what it has, as in ``docs/messages.md``.
            ahead: milliseconds by which its nonce is ahead of the clock.

        Raises:
            LineError: a field is wrong; says which, and what would be right.
        """
        nonce = now + ahead
        if not ahead:
            self._nonce = nonce = max(self._nonce + 1, now)
        own = {
            "account": self.account,
            "generation": self.generation,
            "nonce": nonce,
            "expiry": nonce + good_for,
        }
        rows = lines.parse(json.dumps(own | fields))
        sign(rows, self._domain, [self._key])
        return lines.unparse(rows)

    def session(self, now: int, good_for: int, gateway: bytes) -> dict[str, Any]:
        """What opens a session of so many milliseconds with a gateway, by the id of its run."""
        struct = structs.session(self.account, self.generation, now, now + good_for, gateway)
        signature = sign_digest(self._domain.digest(struct), self._key)
        own = {"account": self.account, "generation": self.generation, "time": now, "expiry": now + good_for}
        return own | {"signature": "0x" + signature.hex()}
