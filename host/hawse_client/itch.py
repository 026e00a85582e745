"""A reader of MoldUDP64: messages in order, what was lost asked for again. Imports nothing of ours."""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

_HEADER = struct.Struct(">10sQH")
_LENGTH = struct.Struct(">H")
_ENDED = 0xFFFF
#: Messages that are asked for at a time.
_AT_A_TIME = 1024


class Lost(Exception):
    """Messages that nobody gives again; says which."""


class Receiver:
    """One session of a feed.

    Args:
        listens: a bound datagram socket, which is in the group if the feed has one.
        requests: address of the feed's server.
        seconds: until something that is missing is asked for again.
        tries: how often.
        first: the first message that is wanted.
    """

    def __init__(
        self,
        listens: socket.socket,
        requests: tuple[str, int],
        seconds: float = 0.2,
        tries: int = 10,
        first: int = 1,
    ) -> None:
        self._in, self._requests, self._seconds, self._tries = listens, requests, seconds, tries
        self._ask = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._ask.settimeout(seconds)
        self.next = first
        self.session: bytes | None = None

    def messages(self) -> Iterator[bytes]:
        """Each message once and in order, until the session ends.

        Raises:
            Lost: the server does not give what is missing.
            TimeoutError: nothing has come for as long as the socket waits.
        """
        while True:
            first, count, found = self._packet(self._in.recv(65_536))
            if count is None:
                continue
            while self.next < first:
                yield from self._again(first)
            if count == _ENDED:
                return
            yield from self._new(first, found)

    def _packet(self, data: bytes) -> tuple[int, int | None, list[bytes]]:
        """First number, count and messages; a count of None: of another session, or no packet."""
        if len(data) < _HEADER.size:
            return 0, None, []
        session, first, count = _HEADER.unpack_from(data)
        if self.session is None:
            self.session = session
        if session != self.session:
            return 0, None, []
        found, at = [], _HEADER.size
        while at < len(data):
            (size,) = _LENGTH.unpack_from(data, at)
            found.append(data[at + _LENGTH.size : at + _LENGTH.size + size])
            at += _LENGTH.size + size
        return first, count, found

    def _new(self, first: int, found: list[bytes]) -> Iterator[bytes]:
        for message in found[max(0, self.next - first) :]:
            self.next += 1
            yield message

    def _again(self, until: int) -> Iterator[bytes]:
        """Some of what is missing before ``until``."""
        assert self.session is not None
        wanted = min(until - self.next, _AT_A_TIME)
        for _ in range(self._tries):
            self._ask.sendto(_HEADER.pack(self.session, self.next, wanted), self._requests)
            with suppress(TimeoutError):
                first, count, found = self._packet(self._ask.recv(65_536))
                if count and first == self.next:
                    yield from self._new(first, found)
                    return
        raise Lost(f"messages {self.next} to {until - 1}: {self._requests[0]} does not give them again")

    def close(self) -> None:
        """Ask no more; the socket that was given stays."""
        self._ask.close()
