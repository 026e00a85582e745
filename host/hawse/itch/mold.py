"""MoldUDP64: numbered messages in datagrams, and a server that gives again what was lost."""

import logging
import os
import secrets
import socket
import struct
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)
#: Session, sequence number of the first message, and how many follow; of a request, how many are wanted.
HEADER = struct.Struct(">10sQH")
LENGTH = struct.Struct(">H")
#: Count of a packet that ends a session; one of no messages is a heartbeat.
ENDED = 0xFFFF
#: Bytes of a datagram: no network cuts it.
MOST = 1400
#: Messages between two of whose places in the file is known.
_STRIDE = 256
_HEARTBEAT_SECONDS = 1.0


class Publisher:
    """A session: a file of all its messages, datagrams to one address, and a socket for requests.

    The host's thread tells; another beats and answers requests from the file, one datagram for each.

    Args:
        folder: where the file goes, ``SESSION.itch``: each message behind its length, two bytes.
        target: where datagrams go: a group or a host, and its port.
        requests: where requests come to.

    Raises:
        OSError: an address or the file cannot be had.
    """

    def __init__(self, folder: Path, target: tuple[str, int], requests: tuple[str, int]) -> None:
        self.session = secrets.token_hex(5).upper().encode()
        self._target = target
        self._out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._out.setblocking(False)
        self._in = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            self._in.bind(requests)
            folder.mkdir(parents=True, exist_ok=True)
            self.path = folder / f"{self.session.decode()}.itch"
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except OSError:
            self._out.close()
            self._in.close()
            raise
        self._in.settimeout(_HEARTBEAT_SECONDS)
        self._places, self._end = [0], 0
        self._next = 1
        self._quiet, self._ended = True, threading.Event()
        self._thread = threading.Thread(target=self._serve, name="itch", daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """Where requests come to."""
        host, port = self._in.getsockname()
        return str(host), int(port)

    def tell(self, messages: Iterable[bytes]) -> None:
        """Number messages, keep them and send them. Readers may lose what is sent, and ask for it again.

        Raises:
            OSError: the file does not take them.
        """
        block = bytearray()
        first, count, packets = self._next, self._next, []
        packet = bytearray()
        for message in messages:
            framed = LENGTH.pack(len(message)) + message
            if packet and HEADER.size + len(packet) + len(framed) > MOST:
                packets.append((first, count - first, bytes(packet)))
                first, packet = count, bytearray()
            if (count - 1) % _STRIDE == 0 and count > 1:
                self._places.append(self._end + len(block))
            packet += framed
            block += framed
            count += 1
        if not block:
            return
        packets.append((first, count - first, bytes(packet)))
        view = memoryview(block)
        while view:
            view = view[os.write(self._file, view) :]
        self._end += len(block)
        self._next = count  # from here on they can be asked for
        self._quiet = False
        for number, of_it, body in packets:
            self._send(HEADER.pack(self.session, number, of_it) + body, self._target)

    def _send(self, packet: bytes, to: tuple[str, int]) -> None:
        with suppress(OSError):  # no buffer, no network: it is lost, and asked for again
            self._out.sendto(packet, to)

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                asked, who = self._in.recvfrom(MOST)
            except TimeoutError:
                if self._quiet:
                    self._send(HEADER.pack(self.session, self._next, 0), self._target)
                self._quiet = True
                continue
            except OSError:
                return  # closed
            try:
                self._answer(asked, who)
            except OSError as error:
                _log.warning("itch: a request was not answered: %s", error)

    def _answer(self, asked: bytes, who: tuple[str, int]) -> None:
        """One datagram of what is wanted, if there is anything of it."""
        if len(asked) != HEADER.size:
            return
        session, first, count = HEADER.unpack(asked)
        until = min(first + count, self._next)
        if session != self.session or not 0 < first < until:
            return
        body, found = bytearray(), 0
        for message in self._read(first, until):
            if HEADER.size + len(body) + len(message) > MOST:
                break
            body += message
            found += 1
        self._in.sendto(HEADER.pack(self.session, first, found) + bytes(body), who)

    def _read(self, first: int, until: int) -> Iterable[bytes]:
        """Framed messages, from a place in the file that is known."""
        skip, at = (first - 1) % _STRIDE, self._places[(first - 1) // _STRIDE]
        # A message is 50 bytes at most with its length; so this holds those before, and a datagram.
        data = os.pread(self._file, _STRIDE * 64 + MOST, at)
        offset = 0
        for number in range(first - skip, until):
            if offset + LENGTH.size > len(data):
                return
            size = LENGTH.size + LENGTH.unpack_from(data, offset)[0]
            if offset + size > len(data):
                return
            if number >= first:
                yield data[offset : offset + size]
            offset += size

    def close(self) -> None:
        """Say that the session is over, and answer no more."""
        self._ended.set()
        self._send(HEADER.pack(self.session, self._next, ENDED), self._target)
        self._send(b"", ("127.0.0.1", self.address[1]))  # wakes the other thread, if it reaches it
        self._thread.join(2 * _HEARTBEAT_SECONDS)
        self._in.close()
        self._out.close()
        os.close(self._file)
