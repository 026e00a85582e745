"""Nonces: which of them a signer may still use."""

from bisect import bisect_left
from collections.abc import Iterable

from hawse.wire import Reason

#: Nonces that are remembered of each signer.
WINDOW = 64
#: Milliseconds by which a nonce may be ahead of the slot's time.
AHEAD = 86_400_000
#: Nonces stay below it, as the control leaf has them.
LIMIT = 1 << 48


class NonceWindow:
    """One signer's nonces: the highest 64 that were used, in any order.

    A nonce below the window, or in it, is refused. So commands may arrive out of order, and who holds one
    back kills it only by letting 63 later ones in.

    Attributes:
        floor: nonces below it are refused, whatever the window says.
        used: ascending, at most :data:`WINDOW`.
        encoded: the same as the control leaf has them, six bytes each.
    """

    __slots__ = ("encoded", "floor", "used")

    def __init__(self, used: Iterable[int] = (), floor: int = 0) -> None:
        self.floor = floor
        self.used = sorted(used)
        self.encoded = _encode(self.used)

    def take(self, nonce: int, most: int) -> tuple[Reason, int] | None:
        """Remember a nonce of at most ``most``; the lowest of a full window is forgotten.

        Returns:
            None, or why it may not be used, and the nonce that is the limit; then nothing has changed.
        """
        used = self.used
        if nonce < self.floor or (used and nonce <= used[-1]):
            return self._take_late(nonce)
        if nonce > most:
            return Reason.NONCE_AHEAD, most
        used.append(nonce)
        self.encoded += nonce.to_bytes(6, "big")
        if len(used) > WINDOW:
            del used[0]
            self.encoded = self.encoded[6:]
        return None

    def _take_late(self, nonce: int) -> tuple[Reason, int] | None:
        """One that is not above all others."""
        used = self.used
        least = max(self.floor, used[0] if len(used) == WINDOW else 0)
        if nonce < least:
            return Reason.NONCE_LOW, least
        at = bisect_left(used, nonce)
        if used[at] == nonce:
            return Reason.NONCE_USED, used[-1] + 1
        used.insert(at, nonce)
        del used[:-WINDOW]
        self.encoded = _encode(used)
        return None


def most_at(time: int) -> int:
    """The highest nonce that may be used at ``time``."""
    return min(time + AHEAD, LIMIT - 1)


def _encode(used: list[int]) -> bytes:
    return b"".join([nonce.to_bytes(6, "big") for nonce in used])
