"""How much one address may ask for, and how long things may take."""

import ipaddress
from collections import Counter
from dataclasses import dataclass

#: Addresses that are remembered; the one that asked longest ago is forgotten first.
_ADDRESSES = 1 << 16


@dataclass(frozen=True)
class Limits:
    """What a gateway allows.

    Attributes:
        requests: a second and address, REST and WebSocket alike; twice as many at once.
        connections: of one address.
        all_connections: of all.
        waiting: commands that wait for a slot.
        answer_seconds: until a command is told to be pending.
        read_seconds: for the first request of a connection, and for a request's body.
        slow_seconds: for a reader to take a message.
        heartbeat_seconds: between two signs of life on a WebSocket.
        session_seconds: longest life of a session.
        sessions: of one account and signer.
        clock_seconds: that a session's message may be away from our clock.
    """

    requests: int = 1000
    connections: int = 256
    all_connections: int = 10_000
    waiting: int = 4096
    answer_seconds: float = 10.0
    read_seconds: float = 10.0
    slow_seconds: float = 5.0
    heartbeat_seconds: float = 5.0
    session_seconds: int = 86_400
    sessions: int = 16
    clock_seconds: int = 30


def host_of(address: str) -> str:
    """Whose an address is: an IPv6 one counts with all of its /64, for they are one's own."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False))


class Rates:
    """A bucket of requests for each address, that fills again by ``limit`` a second."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, host: str, now: float) -> tuple[bool, int, float]:
        """One request at ``now``, in seconds.

        Returns:
            Whether it may be made, how many more may, and seconds until the bucket is full again.
        """
        most = 2.0 * self.limit
        left, when = self._buckets.pop(host, (most, now))
        left = min(most, left + (now - when) * self.limit)
        allowed = left >= 1
        left -= allowed
        self._buckets[host] = left, now
        if len(self._buckets) > _ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
        return allowed, int(left), (most - left) / self.limit


class Connections:
    """How many each address holds."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._held.total()

    def of(self, host: str) -> int:
        """Of one address."""
        return self._held[host]

    def add(self, host: str) -> None:
        """One more."""
        self._held[host] += 1

    def remove(self, host: str) -> None:
        """One less."""
        self._held[host] -= 1
        if not self._held[host]:
            del self._held[host]
