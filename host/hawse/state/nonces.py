"""Nonces: which of them a signer may still use."""

from bisect import bisect_left, insort
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

    def refusal(self, nonce: int, time: int) -> tuple[Reason, int] | None:
        """Why ``nonce`` may not be used at ``time``, and the nonce that is the limit, or None if it may."""
        used = self.used
        if nonce < self.floor or (used and nonce <= used[-1]):
            least = max(self.floor, used[0] if len(used) == WINDOW else 0)
            if nonce < least:
                return Reason.NONCE_LOW, least
            at = bisect_left(used, nonce)
            return (Reason.NONCE_USED, used[-1] + 1) if used[at] == nonce else None
        most = min(time + AHEAD, LIMIT - 1)
        return (Reason.NONCE_AHEAD, most) if nonce > most else None

    def use(self, nonce: int) -> None:
        """Remember one that is not refused; the lowest of a full window is forgotten."""
        used = self.used
        if not used or nonce > used[-1]:
            used.append(nonce)
            self.encoded += nonce.to_bytes(6, "big")
        else:
            insort(used, nonce)
            self.encoded = _encode(used)
        if len(used) > WINDOW:
            del used[0]
            self.encoded = self.encoded[6:]


def _encode(used: list[int]) -> bytes:
    return b"".join([nonce.to_bytes(6, "big") for nonce in used])
