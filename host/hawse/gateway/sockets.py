"""One WebSocket: what its client asks for, and the streams that it reads."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

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
from .sessions import Open
from .shapes import U16, U63, Batch, Done, Status
from .streams import AccountStream, BookStream, LatestStream, Stream, TradesStream, known_slot

#: Streams, and commands under way, of one connection.
_STREAMS, _UNDER_WAY = 64, 1024
#: What may be left behind, to be sent when the connection ends.
_LAST_WORDS = (MessageKind.CANCEL, MessageKind.CANCEL_ALL, MessageKind.CANCEL_ALL_AFTER)
#: Close code of a reader that is too slow, and of one whose session has ended.
SLOW, ENDED = 4008, 4001


class Ask(msgspec.Struct, forbid_unknown_fields=True):
    """What a client sends, as a JSON object in one text frame; ``id`` comes back with the answer.

    ``op`` is login (``token``), subscribe or unsubscribe (``stream``: book and trades with ``instrument``,
    account, status, batches; ``from``: the first slot that is not known yet), command (``command``: a signed
    line), on_disconnect (``command``: a signed cancel, cancel_all or cancel_all_after that is sent when the
    connection ends; none takes it back), or ping. A binary frame is the rows of signed commands.
    """

    op: Literal["login", "subscribe", "unsubscribe", "command", "on_disconnect", "ping"]
    id: U63 | str | None = None
    token: str | None = None
    stream: Literal["book", "trades", "account", "status", "batches"] | None = None
    instrument: U16 = 0
    from_: U63 | None = msgspec.field(default=None, name="from")
    command: msgspec.Raw = msgspec.Raw()


class Desk(msgspec.Struct):
    """What connections share.

    Attributes:
        feed, archive, intake, limits: of the gateway.
        find: the open session of a token.
        still: raises Refused once a session's signer may not read its account any more.
        status, batch: the latest.
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
        self._answers: deque[dict[str, Any]] = deque()
        self._news = asyncio.Event()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Until either side ends it."""
        await self._socket.prepare(request)
        await self._say({"op": "hello", "sequence": self._desk.feed.slot, "time": self._desk.clock()})
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
            given: Ask | None = None
            try:
                self._desk.take(self._host)
                if message.type is WSMsgType.BINARY:
                    self._rows(message.data)
                else:
                    given = _asked(message.data)
                    await getattr(self, f"_{given.op}")(given)
            except Refused as error:
                await self._answer(given, {"op": "error"} | self._desk.told(error))

    async def _ping(self, asked: Ask) -> None:
        await self._answer(
            asked, {"op": "pong", "time": self._desk.clock(), "sequence": self._desk.feed.slot}
        )

    async def _login(self, asked: Ask) -> None:
        if asked.token is None:
            raise Refused("request", "token: is missing")
        session = self._desk.find(asked.token)
        await self._desk.still(session)
        self._session = session
        await self._answer(asked, {"op": "login", "account": session.account, "expires": session.expires})

    async def _subscribe(self, asked: Ask) -> None:
        if len(self._streams) >= _STREAMS:
            raise Refused("request", "too many streams", have=len(self._streams) + 1, need=_STREAMS)
        desk, known = self._desk, known_slot(asked.from_, self._desk.feed)
        name = _name(asked)
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
                session = self._session
                if session is None:
                    raise Refused("session", "account: log in first")
                stream = AccountStream(
                    name, desk.feed, desk.archive, session, lambda: desk.still(session), known
                )
            case "status":
                stream = LatestStream(name, desk.feed, desk.status)
            case _:
                stream = LatestStream(name, desk.feed, desk.batch)
        # Said before the stream begins, so that a client knows what its next message is.
        await self._answer(asked, {"op": "subscribe", "stream": name, "sequence": stream.at})
        self._streams[name] = stream
        self._news.set()

    async def _unsubscribe(self, asked: Ask) -> None:
        if self._streams.pop(_name(asked), None) is None:
            raise Refused("request", f"stream: {_name(asked)} is not subscribed to")
        await self._answer(asked, {"op": "unsubscribe", "stream": _name(asked)})

    async def _command(self, asked: Ask) -> None:
        self._submit(parsed(asked.command), {} if asked.id is None else {"id": asked.id})

    def _rows(self, data: bytes) -> None:
        """Commands as their rows: each is answered by its account and nonce, and counts as a request."""
        for n, rows in enumerate(parsed_rows(data)):
            who = {"account": int(rows["account"][0]), "nonce": int(rows["nonce"][0])}
            try:
                if n:  # the frame itself was counted
                    self._desk.take(self._host)
                self._submit(rows, who)
            except Refused as error:
                self._finished({"op": "error"} | self._desk.told(error) | who)

    def _submit(self, rows: Array, tag: dict[str, Any]) -> None:
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
            self._finished({"op": "error"} | self._desk.told(error) | tag)
        else:
            self._finished({"op": "command", "outcome": done.result()} | tag)

    def _finished(self, answer: dict[str, Any]) -> None:
        self._answers.append(answer)
        self._news.set()

    async def _on_disconnect(self, asked: Ask) -> None:
        rows = None
        if bytes(asked.command):
            rows = parsed(asked.command)
            if rows["kind"][0] not in _LAST_WORDS:
                names = ", ".join(kind.name.lower() for kind in _LAST_WORDS)
                raise Refused("line", f"command: on_disconnect takes {names}")
        self._last_words = rows
        await self._answer(asked, {"op": "on_disconnect", "armed": rows is not None})

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
                isinstance(s, AccountStream) for s in self._streams.values()
            ):
                try:
                    await self._desk.still(self._session)
                except Refused as error:
                    if error.code != "busy":
                        await self.end(ENDED, f"account: {error}")
                        return
            beat = {"op": "heartbeat", "sequence": self._desk.feed.slot, "time": self._desk.clock()}
            await self._say(beat)

    async def _answer(self, asked: Ask | None, told: dict[str, Any]) -> None:
        await self._say(told if asked is None or asked.id is None else told | {"id": asked.id})

    async def _say(self, told: Any) -> None:
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


def _name(asked: Ask) -> str:
    if asked.stream is None:
        raise Refused("request", "stream: is missing")
    return f"{asked.stream}.{asked.instrument}" if asked.stream in ("book", "trades") else asked.stream


_DECODER = msgspec.json.Decoder(Ask)
