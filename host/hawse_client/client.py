"""A client of a venue's gateway: one WebSocket, which comes back by itself and goes on where it was."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from hawse.keys.eip712 import Domain

from .book import Book
from .errors import ClientError, Refused, Unreachable
from .signing import Signer, address_of

Told = dict[str, Any]
#: Milliseconds for which a command holds, and a session.
_GOOD_FOR, _SESSION = 30_000, 3_600_000
#: Milliseconds by which the nonce of a last word is ahead, and seconds until it is signed anew.
_AHEAD, _RENEW = 600_000, 300
#: Seconds without a word from the gateway until it counts as lost; and longest pause before a new attempt.
_SILENCE, _PAUSE = 15.0, 5.0
_UNKNOWN = ClientError("the client is closed")


@dataclass(eq=False)
class _Command:
    """A signed line under way, and the slot that was the last when it was sent first."""

    line: Told
    since: int
    answer: asyncio.Future[Told]
    sent: int = 0


@dataclass(eq=False)
class _Reader:
    """A stream that is read: what to subscribe to, and where its messages go."""

    asks: Told
    at: int | None = None
    queue: asyncio.Queue[Told] = field(default_factory=asyncio.Queue)
    book: Book | None = None

    @property
    def name(self) -> str:
        """As the gateway calls it."""
        return (
            f"{self.asks['stream']}.{self.asks['instrument']}"
            if "instrument" in self.asks
            else str(self.asks["stream"])
        )


class Client:
    """A connection to a gateway.

    Args:
        url: of the gateway, as in ``http://127.0.0.1:8080``.
        key: private key of an owner or agent, 32 bytes; without it only public streams are read.
        owner: address of the account's owner, where the key is an agent's; 0x and 40 digits.
        account, generation: of a subaccount, both or neither; else the account that a deposit opened.
        patience: seconds for which a gateway may be away before commands and questions fail.

    Attributes:
        venue: what ``/v1/venue`` says.
        connects: how many times the WebSocket was opened.
    """

    def __init__(
        self,
        url: str,
        key: bytes | None = None,
        owner: str | None = None,
        account: int | None = None,
        generation: int | None = None,
        patience: float = 30.0,
    ) -> None:
        self._url, self._key, self._patience = url.rstrip("/"), key, patience
        self._owner, self._which = owner, (account, generation)
        self.venue: Told = {}
        self.connects = 0
        self._signer: Signer | None = None
        self._token: str | None = None
        self._offset = 0.0
        self._readers: dict[str, _Reader] = {}
        self._commands: dict[int, _Command] = {}
        self._answers: dict[str, asyncio.Future[Told]] = {}
        self._number = 0
        self._sequence = -1
        self._last_words: Told | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._up = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        try:
            await self._begin()
        except BaseException:
            await self._http.close()
            raise
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        for command in self._commands.values():
            if not command.answer.done():
                command.answer.set_exception(_UNKNOWN)
        if self._http is not None:
            await self._http.close()

    async def _begin(self) -> None:
        """Who the venue is, and which account ours."""
        self.venue = await self.get("/v1/venue")
        if self._key is None:
            return
        domain = Domain(self.venue["chain_id"], bytes.fromhex(self.venue["contract"][2:]))
        account, generation = self._which
        if account is None or generation is None:
            owner = self._owner or address_of(self._key)
            known = await self.get(f"/v1/owners/{owner}")
            account, generation = known["account"], known["generation"]
        self._signer = Signer(self._key, domain, account, generation)

    @property
    def signer(self) -> Signer:
        """Who signs.

        Raises:
            ClientError: the client has no key.
        """
        if self._signer is None:
            raise ClientError("the client has no key: it only reads what is public")
        return self._signer

    @property
    def now(self) -> int:
        """The gateway's clock, milliseconds."""
        return round((time.time() + self._offset) * 1000)

    # Questions

    async def get(self, path: str, **query: int) -> Any:
        """What a path of ``docs/gateway.md`` answers; asked again while the gateway is away.

        Raises:
            Refused: it refuses.
            Unreachable: it has been away for too long.
        """
        return await self._ask("GET", path, query)

    async def _ask(self, method: str, path: str, query: dict[str, int], body: Any = None) -> Any:
        assert self._http is not None
        end, pause = time.monotonic() + self._patience, 0.05
        while True:
            head = {"Authorization": f"Bearer {self._token}"} if self._token else {}
            data = None if body is None else msgspec.json.encode(body)
            try:
                async with self._http.request(
                    method, self._url + path, params=query, data=data, headers=head
                ) as reply:
                    told = msgspec.json.decode(await reply.read())
                    if reply.status == 401 and self._token and path != "/v1/sessions":
                        await self._login()
                        continue
                    if reply.status in (429, 503) and time.monotonic() < end:
                        raise aiohttp.ClientError(told)
                    if reply.status >= 400:
                        raise Refused(told)
                    return told
            except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
                if time.monotonic() >= end:
                    raise Unreachable(f"{self._url}{path}: {error}") from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE)

    async def account(self) -> Told:
        """Collateral, margin, positions and open orders."""
        return await self._own("/v1/account")

    async def order_status(self, client_id: int) -> Told:
        """What became of an order, for ever."""
        return await self._own("/v1/account/orders", client_id=client_id)

    async def _own(self, path: str, **query: int) -> Told:
        if self._token is None:
            await self._login()
        found: Told = await self.get(path, **query)
        return found

    async def _login(self) -> None:
        """A session; the clock is set by the gateway's, of which the message speaks."""
        self._token = None
        await self._set_clock()
        venue = await self.get("/v1/venue")  # another run has another id
        asks = self.signer.session(self.now, _SESSION, bytes.fromhex(venue["gateway"][2:]))
        self._token = (await self._ask("POST", "/v1/sessions", {}, asks))["token"]

    async def _set_clock(self) -> None:
        before = time.time()
        told = await self.get("/v1/time")
        self._offset = told["time"] / 1000 - (before + time.time()) / 2
        self._sequence = max(self._sequence, told["slot"])

    # Commands

    async def send(self, kind: str, **fields: Any) -> Told:
        """A signed command, and what became of it: ``slot``, ``seq``, ``event`` and ``lines``.

        It survives a lost connection: once there is another one, the venue's word is looked up, and the same
        command is sent again only if it has none. The same nonce never counts twice.

        Raises:
            Refused: by gateway or venue, or rejected by the engine; says why.
            Unreachable: the gateway is away; the command may still be carried out until it expires.
        """
        line = self.signer.line(self.now, _GOOD_FOR, {"kind": kind} | fields)
        self._number += 1
        number, loop = self._number, asyncio.get_running_loop()
        command = self._commands[number] = _Command(line, self._sequence, loop.create_future())
        try:
            if self._up.is_set():
                await self._send_command(number)
            return await asyncio.wait_for(command.answer, self._patience)
        except TimeoutError:
            raise Unreachable(f"{kind}: no answer for {self._patience:g} s") from None
        finally:
            del self._commands[number]

    async def order(self, client_id: int, side: str, price: int, quantity: int, **more: Any) -> Told:
        """An order, in ticks and lots; ``instrument``, ``time_in_force``, ``reduce_only``, ``self_trade``."""
        return await self.send(
            "order", client_id=client_id, side=side, price=price, quantity=quantity, **more
        )

    async def cancel(self, client_id: int) -> Told:
        """Cancel an order."""
        return await self.send("cancel", client_id=client_id)

    async def cancel_all(self, instrument: int = 0xFFFF) -> Told:
        """Cancel all orders of an instrument, or of all."""
        return await self.send("cancel_all", instrument=instrument)

    async def cancel_all_after(self, delay: int) -> Told:
        """Have the venue cancel all in so many milliseconds, unless it is told again; 0: never."""
        return await self.send("cancel_all_after", delay=delay)

    async def replace(self, client_id: int, price: int, quantity: int) -> Told:
        """Another price and quantity."""
        return await self.send("replace", client_id=client_id, price=price, quantity=quantity)

    async def reduce(self, client_id: int, quantity: int) -> Told:
        """Fewer lots, in the same place."""
        return await self.send("reduce", client_id=client_id, quantity=quantity)

    async def withdraw(self, amount: int) -> Told:
        """Quanta to the owner; the owner's key alone may."""
        return await self.send("withdraw", amount=amount)

    async def transfer(self, to_subaccount: int, amount: int) -> Told:
        """Quanta to another of the owner's subaccounts; his key alone may."""
        return await self.send("transfer", to_subaccount=to_subaccount, amount=amount)

    async def appoint(self, agent: str, agent_expiry: int, max_life: int = 0) -> Told:
        """Let another key trade until then; the owner's alone may."""
        return await self.send("appoint", agent=agent, agent_expiry=agent_expiry, max_life=max_life)

    async def cancel_on_disconnect(self) -> None:
        """Leave a signed CANCEL_ALL with the gateway, which sends it when this connection ends."""
        self._last_words = {"kind": "cancel_all", "instrument": 0xFFFF}
        if self._up.is_set():
            await self._leave_last_words()

    async def _leave_last_words(self) -> None:
        if self._last_words is not None:
            line = self.signer.line(self.now, _GOOD_FOR, self._last_words, ahead=_AHEAD)
            await self._question({"op": "on_disconnect", "command": line})

    async def _send_command(self, number: int) -> None:
        command = self._commands[number]
        command.sent += 1
        with suppress(ConnectionError):  # then it is seen to once there is another one
            await self._say({"op": "command", "id": number, "command": command.line})

    async def _see_to(self, number: int) -> None:
        """Of a command that was under way: its outcome if it has one, else send it again."""
        command = self._commands.get(number)
        if command is None or command.answer.done():
            return
        if command.sent:
            found = await self._outcome(command)
            if found:
                self._settle(command, found)
                return
        await self._send_command(number)

    async def _outcome(self, command: _Command) -> Told | None:
        """Of a command, by its nonce, among all that was told since it was sent first."""
        after = max(0, command.since)
        while True:
            page = await self._own("/v1/account/lines", **{"from": after})
            for n, line in enumerate(page["lines"]):
                if line.get("nonce") == command.line["nonce"] and line.get("reason") != "nonce_used":
                    mine = [other for other in page["lines"][n:] if other.get("seq") == line["seq"]]
                    return {"slot": line["slot"], "seq": line["seq"], "event": line["event"], "lines": mine}
            if not page["lines"]:
                return None
            after = page["next"]

    @staticmethod
    def _settle(command: _Command, outcome: Told) -> None:
        if command.answer.done():
            return
        if outcome["event"] in ("refused", "rejected"):
            line = outcome["lines"][0]
            error = {"code": line["reason"], "message": f"{outcome['event']} by the venue"}
            error |= {name: line[name] for name in ("have", "need", "detail") if name in line}
            command.answer.set_exception(Refused({"error": error, "outcome": outcome}))
        else:
            command.answer.set_result(outcome)

    # Streams

    async def book(self, instrument: int = 0) -> Book:
        """A local book that is kept up to date; waits until it is whole."""
        reader = self._readers.get(f"book.{instrument}")
        if reader is None:
            reader = _Reader({"stream": "book", "instrument": instrument}, book=Book(instrument))
            await self._read(reader)
        book = reader.book
        assert book is not None
        if book.sequence < -1:
            await asyncio.wait_for(book.change(), self._patience)
        return book

    async def trades(self, instrument: int = 0, after: int | None = None) -> AsyncIterator[Told]:
        """Trades as they happen, from behind slot ``after`` on, none twice and none left out."""
        async for message in self._messages({"stream": "trades", "instrument": instrument}, after):
            for trade in message["trades"]:
                yield trade

    async def outcomes(self, after: int | None = None) -> AsyncIterator[Told]:
        """The account's lines, from behind slot ``after`` on, none twice and none left out."""
        async for message in self._messages({"stream": "account"}, after):
            for line in message["lines"]:
                yield line

    async def _messages(self, asks: Told, after: int | None) -> AsyncIterator[Told]:
        reader = _Reader(asks, after)
        if reader.name in self._readers:
            raise ClientError(f"{reader.name}: is read already")
        await self._read(reader)
        try:
            while True:
                yield await reader.queue.get()
        finally:
            self._readers.pop(reader.name, None)
            if self._up.is_set():
                with suppress(ConnectionError):
                    await self._say({"op": "unsubscribe"} | reader.asks)

    async def _read(self, reader: _Reader) -> None:
        self._readers[reader.name] = reader
        if self._up.is_set():
            with suppress(ConnectionError):
                await self._subscribe(reader)

    async def _subscribe(self, reader: _Reader) -> None:
        asks: Told = {"op": "subscribe"} | reader.asks
        if reader.at is not None:
            asks["from"] = reader.at + 1
        answer = await self._question(asks)
        if reader.at is None and reader.book is None:
            reader.at = answer["sequence"]  # where it begins, so that it goes on from there

    # The connection

    async def _run(self) -> None:
        pause = 0.05
        while True:
            try:
                await self._connect()
                pause = 0.05
            except (aiohttp.ClientError, ConnectionError, TimeoutError, ClientError, msgspec.DecodeError):
                pass
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE)

    async def _connect(self) -> None:
        """One connection, from its beginning to its end."""
        assert self._http is not None
        if self._signer is not None:
            await self._login()
        async with self._http.ws_connect(
            self._url.replace("http", "ws", 1) + "/v1/stream", heartbeat=_SILENCE, max_msg_size=0
        ) as socket:
            self._socket = socket
            self.connects += 1
            hearing = asyncio.create_task(self._hear(socket))
            resuming = asyncio.create_task(self._resume())
            try:
                await asyncio.wait((hearing, resuming), return_when=asyncio.FIRST_EXCEPTION)
            finally:
                self._up.clear()
                self._socket = None
                for task in (hearing, resuming):
                    task.cancel()
                await asyncio.gather(hearing, resuming, return_exceptions=True)
                for answer in self._answers.values():
                    answer.cancel()
                self._answers.clear()

    async def _resume(self) -> None:
        """Log in, read on where each stream was, and see to what was under way."""
        if self._token is not None:
            await self._question({"op": "login", "token": self._token})
        for reader in [*self._readers.values()]:
            await self._subscribe(reader)
        await self._leave_last_words()
        self._up.set()
        for number in [*self._commands]:
            await self._see_to(number)
        while True:
            await asyncio.sleep(_RENEW)
            await self._leave_last_words()

    async def _say(self, told: Told) -> None:
        if self._socket is None:
            raise ConnectionResetError("not connected")
        await self._socket.send_str(msgspec.json.encode(told).decode())

    async def _question(self, asks: Told) -> Told:
        """Ask, and wait for the answer.

        Raises:
            Refused: the gateway refuses.
            ConnectionError: the connection ended before.
        """
        self._number += 1
        name = f"q{self._number}"
        answer = self._answers[name] = asyncio.get_running_loop().create_future()
        try:
            await self._say(asks | {"id": name})
            return await asyncio.wait_for(answer, _SILENCE)
        except asyncio.CancelledError:
            if answer.cancelled():
                raise ConnectionResetError("the connection ended before the answer") from None
            raise
        finally:
            self._answers.pop(name, None)

    async def _hear(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            frame = await asyncio.wait_for(socket.receive(), _SILENCE)
            if frame.type is not aiohttp.WSMsgType.TEXT:
                raise ConnectionResetError(f"the connection ended: {frame.extra or frame.data}")
            await self._take(msgspec.json.decode(frame.data))

    async def _take(self, told: Told) -> None:
        self._sequence = max(
            self._sequence, told.get("sequence", -1) if isinstance(told.get("sequence"), int) else -1
        )
        if "stream" in told and "op" not in told:
            await self._take_message(told)
        elif (answer := self._answers.get(str(told.get("id")))) is not None:
            if not answer.done():
                if told["op"] == "error":
                    answer.set_exception(Refused(told))
                else:
                    answer.set_result(told)
        elif (command := self._commands.get(told.get("id", 0))) is not None:
            await self._take_outcome(told, command)

    async def _take_outcome(self, told: Told, command: _Command) -> None:
        if told["op"] == "command":
            outcome = told["outcome"]
            if command.sent > 1 and outcome["lines"][0].get("reason") == "nonce_used":
                outcome = await self._outcome(command) or outcome
            self._settle(command, outcome)
        elif not command.answer.done() and told["error"]["code"] != "stopping":
            # "Stopping" says that it was not taken: the next host gets it.
            command.answer.set_exception(Refused(told))

    async def _take_message(self, told: Told) -> None:
        name = f"{told['stream']}.{told['instrument']}" if "instrument" in told else told["stream"]
        reader = self._readers.get(name)
        if reader is None:
            return
        if reader.book is not None:
            good = reader.book.take(told)
            reader.at = told["sequence"] if good else None
            if not good:
                await self._say({"op": "subscribe"} | reader.asks)
        else:
            reader.at = told["sequence"]
            reader.queue.put_nowait(told)
