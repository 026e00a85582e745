"""One WebSocket: what its client asks for, and the streams that it reads."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
from aiohttp import WSMsgType, web

from hawse.keys import lines
from hawse.keys.messages import MESSAGE, ROW_BYTES, MessageKind, split
from hawse.wire.dtypes import Array

from .archive import Archive
from .errors import Refused
from .feed import Feed, encode
from .intake import Intake
from .limits import Limits
from .messages import (
    Armed,
    Ask,
    Asked,
    Command,
    Heartbeat,
    Hello,
    LoggedIn,
    Login,
    OnDisconnect,
    Outcome,
    Ping,
    Pong,
    Said,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    Wrong,
)
from .proofs import Proofs
from .sessions import Open
from .shapes import Batch, Done, Status
from .streams import AccountStream, BookStream, LatestStream, ProofsStream, Stream, TradesStream, known_slot

#: Streams, and commands under way, of one connection.
_STREAMS, _UNDER_WAY = 64, 1024
#: What may be left behind, to be sent when the connection ends.
_LAST_WORDS = (MessageKind.CANCEL, MessageKind.CANCEL_ALL, MessageKind.CANCEL_ALL_AFTER)
#: Close code of a reader that is too slow, and of one whose session has ended.
SLOW, ENDED = 4008, 4001


class Desk(msgspec.Struct):
    """What connections share.

    Attributes:
        feed, archive, intake, limits: of the gateway.
        find: the open session of a token.
        still: raises Refused once a session's signer may not read its account any more.
        status, batch: the latest.
        proofs: of accounts.
        take: one request of an address, or Refused.
        told: an error as it is sent.
        clock: milliseconds now.
    """

    feed: Feed
    archive: Archive
    intake: Intake
    limits: Limits
    find: Callable[[str], Open]
    still: Callable[[Open], Any]
    status: Callable[[], Status]
    batch: Callable[[], Batch | None]
    proofs: Proofs
    take: Callable[[str], Any]
    told: Callable[[Refused], dict[str, Any]]
    clock: Callable[[], int]


class Connection:
    """A client's WebSocket from its first frame to its end.

    Args:
        desk: what connections share.
        host: the client's address.
    """

    def __init__(self, desk: Desk, host: str) -> None:
        self._desk, self._host = desk, host
        self._socket = web.WebSocketResponse(
            max_msg_size=2 * lines.MOST_BYTES, heartbeat=4 * desk.limits.heartbeat_seconds, compress=False
        )
        self._streams: dict[str, Stream] = {}
        self._session: Open | None = None
        self._last_words: Array | None = None
        self._under_way = 0
        self._answers: deque[Said] = deque()
        self._news = asyncio.Event()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Until either side ends it."""
        await self._socket.prepare(request)
        await self._say(Hello(sequence=self._desk.feed.slot, time=self._desk.clock()))
        self._desk.feed.listeners.add(self._news)
        sides = [asyncio.create_task(side()) for side in (self._read, self._write, self._beat)]
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._desk.feed.listeners.discard(self._news)
            for task in sides:
                task.cancel()
            results = await asyncio.gather(*sides, return_exceptions=True)
            self._speak_last_words()
        for failed in results:
            if isinstance(failed, Exception) and not isinstance(failed, ConnectionError):
                raise failed
        return self._socket

    def _speak_last_words(self) -> None:
        if self._last_words is not None:
            with suppress(Refused):
                self._desk.intake.submit(self._last_words)

    async def end(self, code: int, why: str) -> None:
        """Close it, with a reason."""
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(2):
                await self._socket.close(code=code, message=why.encode()[:120], drain=False)

    # What it hears

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.ERROR:
                return
            given: Asked | None = None
            try:
                self._desk.take(self._host)
                if message.type is WSMsgType.BINARY:
                    self._rows(message.data)
                else:
                    given = asked = _asked(message.data)
                    await self._obey(asked)
            except Refused as error:
                await self._say(self._wrong(error, id=msgspec.UNSET if given is None else given.id))

    async def _obey(self, asked: Ask) -> None:
        match asked:
            case Login():
                await self._login(asked)
            case Subscribe():
                await self._subscribe(asked)
            case Unsubscribe():
                await self._unsubscribe(asked)
            case Command():
                self._submit(parsed(asked.command), id=asked.id)
            case OnDisconnect():
                await self._on_disconnect(asked)
            case Ping():
                desk = self._desk
                await self._say(Pong(id=asked.id, time=desk.clock(), sequence=desk.feed.slot))

    def _wrong(self, error: Refused, **tag: Any) -> Wrong:
        return Wrong(**self._desk.told(error), **tag)

    async def _login(self, asked: Login) -> None:
        session = self._desk.find(asked.token)
        await self._desk.still(session)
        self._session = session
        await self._say(LoggedIn(id=asked.id, account=session.account, expires=session.expires))

    async def _subscribe(self, asked: Subscribe) -> None:
        if len(self._streams) >= _STREAMS:
            raise Refused("request", "too many streams", have=len(self._streams) + 1, need=_STREAMS)
        desk, known = self._desk, known_slot(asked.from_, self._desk.feed)
        name = asked.name
        if asked.stream in ("book", "trades") and asked.instrument not in desk.feed.markets:
            raise Refused(
                "not_found", "instrument: there is none of this number", have=asked.instrument, need=None
            )
        stream: Stream
        match asked.stream:
            case "book":
                stream = BookStream(name, desk.feed, asked.instrument, known)
            case "trades":
                stream = TradesStream(name, desk.feed, desk.archive, asked.instrument, known)
            case "account":
                session = self._logged_in(name)
                stream = AccountStream(
                    name, desk.feed, desk.archive, session, lambda: desk.still(session), known
                )
            case "proofs":
                session = self._logged_in(name)
                stream = ProofsStream(name, desk.feed, desk.proofs, session, lambda: desk.still(session))
            case "status":
                stream = LatestStream(name, desk.feed, desk.status)
            case _:
                stream = LatestStream(name, desk.feed, desk.batch)
        # Said before the stream begins, so that a client knows what its next message is.
        await self._say(Subscribed(id=asked.id, stream=name, sequence=stream.at))
        self._streams[name] = stream
        self._news.set()

    def _logged_in(self, stream: str) -> Open:
        if self._session is None:
            raise Refused("session", f"{stream}: log in first")
        return self._session

    async def _unsubscribe(self, asked: Unsubscribe) -> None:
        if self._streams.pop(asked.name, None) is None:
            raise Refused("request", f"stream: {asked.name} is not subscribed to")
        await self._say(Unsubscribed(id=asked.id, stream=asked.name))

    def _rows(self, data: bytes) -> None:
        """Commands as their rows: each is answered by its account and nonce, and counts as a request."""
        for n, rows in enumerate(parsed_rows(data)):
            who = {"account": int(rows["account"][0]), "nonce": int(rows["nonce"][0])}
            try:
                if n:  # the frame itself was counted
                    self._desk.take(self._host)
                self._submit(rows, **who)
            except Refused as error:
                self._finished(self._wrong(error, **who))

    def _submit(self, rows: Array, **tag: Any) -> None:
        """A command whose answer bears a tag."""
        if self._under_way >= _UNDER_WAY:
            raise Refused("busy", "commands under way", have=self._under_way + 1, need=_UNDER_WAY)
        ticket = self._desk.intake.submit(rows)
        self._under_way += 1
        ticket.done.add_done_callback(lambda done: self._answered(done, tag))

    def _answered(self, done: asyncio.Future[Done], tag: dict[str, Any]) -> None:
        self._under_way -= 1
        error = done.exception()
        if isinstance(error, Refused):
            self._finished(self._wrong(error, **tag))
        else:
            self._finished(Outcome(outcome=done.result(), **tag))

    def _finished(self, answer: Said) -> None:
        self._answers.append(answer)
        self._news.set()

    async def _on_disconnect(self, asked: OnDisconnect) -> None:
        rows = None
        if asked.command is not msgspec.UNSET:
            rows = parsed(asked.command)
            if rows["kind"][0] not in _LAST_WORDS:
                names = ", ".join(kind.name.lower() for kind in _LAST_WORDS)
                raise Refused("line", f"command: on_disconnect takes {names}")
        self._last_words = rows
        await self._say(Armed(id=asked.id, armed=rows is not None))

    # What it says

    async def _write(self) -> None:
        while True:
            self._news.clear()
            while self._answers:
                await self._say(self._answers.popleft())
            for stream in [*self._streams.values()]:
                try:
                    async for message in stream.messages():
                        if self._streams.get(stream.name) is not stream:
                            break
                        await self._send(message)
                except Refused as error:
                    await self.end(ENDED, f"{stream.name}: {error}")
                    return
            await self._news.wait()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._desk.limits.heartbeat_seconds)
            if self._session is not None and any(
                isinstance(s, AccountStream | ProofsStream) for s in self._streams.values()
            ):
                try:
                    await self._desk.still(self._session)
                except Refused as error:
                    if error.code != "busy":
                        await self.end(ENDED, f"account: {error}")
                        return
            await self._say(Heartbeat(sequence=self._desk.feed.slot, time=self._desk.clock()))

    async def _say(self, told: Said) -> None:
        await self._send(encode(told))

    async def _send(self, message: bytes) -> None:
        """Raises ConnectionResetError where the reader is gone, or is too slow and has been told so."""
        seconds = self._desk.limits.slow_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._socket.send_str(message.decode())
        except TimeoutError:
            await self.end(
                SLOW, f"slow reader: nothing was taken for {seconds:g} s; resume from your last sequence"
            )
            raise ConnectionResetError("slow reader") from None


def parsed(command: msgspec.Raw | bytes) -> Array:
    """Rows of a signed line.

    Raises:
        Refused: line.
    """
    try:
        return lines.parse(bytes(command))
    except lines.LineError as error:
        raise Refused("line", str(error)) from None


def parsed_rows(data: bytes) -> list[Array]:
    """The rows of each command, of the bytes of some.

    Raises:
        Refused: line: not whole rows, or half of the last command is missing.
    """
    if not data or len(data) % ROW_BYTES:
        raise Refused("line", "a binary frame is rows of commands", have=len(data), need=ROW_BYTES)
    rows: Array = np.frombuffer(data, MESSAGE)
    try:
        starts = split(rows).starts
    except ValueError as error:
        raise Refused("line", str(error)) from None
    return np.split(rows, starts[1:])


def _asked(text: str) -> Ask:
    try:
        return _DECODER.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Refused("line", f"not what a client may ask: {error}") from None


_DECODER = msgspec.json.Decoder[Ask](Ask)
