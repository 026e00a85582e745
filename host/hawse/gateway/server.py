"""The gateway: a thread of the host's process with a loop of its own, which never holds up the slot path.

The host's thread hands over what each slot did, and answers questions between two slots; it never waits.
"""

import asyncio
import logging
import secrets
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from hawse.keys.lines import MOST_BYTES
from hawse.publisher.lines import Line, Order
from hawse.state.config import VenueConfig
from hawse.state.machines import AnyMachine
from hawse.venue import Sealed

from . import asyncapi, openapi, pages
from .accounts import Watch
from .archive import Archive
from .directory import Directory, Questions
from .errors import Refused
from .feed import Feed, MarketNow, Resting, Told, encode
from .intake import Intake, Offer
from .limits import Connections, Limits, Rates, host_of
from .metrics import metrics
from .proofs import Proofs
from .rest import Call, Rest, Route, batch_of
from .sessions import Open, Sessions
from .shapes import Batch, Status
from .sockets import Connection, Desk

_log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: Seconds between two tellings of the status, and for connections to end with the host.
_STATUS_SECONDS, _END_SECONDS = 1.0, 2.0
#: Slots that may wait to be told before standard input is held back.
_BEHIND = 64
#: For answers that are on their way when the host ends.
_LAST_SECONDS = 0.05
#: Bytes on their way to one reader.
_SEND_BYTES = 1 << 17
#: Why aiohttp refuses, as ours.
_CODES = {404: "not_found", 405: "method", 413: "too_large"}


def listen(address: str) -> socket.socket:
    """A listening socket of ``HOST:PORT``; port 0 takes a free one.

    Raises:
        ValueError: it is no such address.
        OSError: it cannot be had.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 0xFFFF:
        raise ValueError(f"{address!r} is not HOST:PORT, as in 127.0.0.1:8080")
    host = host.strip("[]") or "127.0.0.1"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.create_server((host, int(port)), family=family, backlog=1024)
    # Its connections inherit it: what a slow reader does not take is not kept by the system, either.
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
    return server


def url_of(server: socket.socket) -> str:
    """Where a listening socket is reached."""
    host, port = server.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Gateway:
    """A venue's gateway.

    Args:
        server: a listening socket; closed at the end.
        config: of the venue.
        outcomes: the host's file of them, which is there.
        offer: takes commands for the next slot, from any thread.
        limits: what it allows.
    """

    def __init__(
        self,
        server: socket.socket,
        config: VenueConfig,
        outcomes: Path,
        offer: Offer,
        limits: Limits | None = None,
    ) -> None:
        self._socket, self._config, self._offer = server, config, offer
        self._limits = limits or Limits()
        self._archive = Archive(outcomes)
        self._watch, self._proofs = Watch(), Proofs(config)
        self._started = threading.Event()
        self._stopped: asyncio.Event | None = None
        self._orderly = False
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        self._failed: BaseException | None = None
        self._waits = ""
        self._handed = self._taken = 0
        self._batch: Batch | None = None

    # The host's side

    def start(self, slot: int, orders: Iterable[Order], machine: AnyMachine, unanchored: int) -> None:
        """Begin to serve, from the state behind ``slot``.

        Raises:
            OSError: the socket cannot be served.
        """
        now = self._now_of(machine, unanchored)
        resting = [Resting.of(order) for order in orders]
        self._loop = asyncio.new_event_loop()
        self._questions = Questions(self._loop)
        self._feed = Feed(self._config, slot, machine.time, resting, _markets(machine), now)
        self._thread.start()
        self._started.wait()
        if self._failed:
            raise self._failed

    def tell(
        self,
        number: int,
        slot_time: int,
        lines: Sequence[Line],
        touched: Iterable[Order],
        machine: AnyMachine,
        unanchored: int,
    ) -> None:
        """What a slot did."""
        orders = [Resting.of(order) for order in touched]
        now = self._now_of(machine, unanchored)
        self._handed += 1
        self._post(self._told, Told(number, slot_time, lines, orders, _markets(machine), now))

    @property
    def is_behind(self) -> bool:
        """Whether so many slots wait to be told that what makes more of them should wait, too."""
        return self._handed - self._taken > _BEHIND and self._thread.is_alive()

    def settle(
        self,
        tickets: Sequence[object],
        seqs: Sequence[int],
        lines: Sequence[Line],
        slot_time: int,
        seconds: float,
    ) -> None:
        """What became of the commands of a slot, which was told before, and how long it took."""
        self._post(self._settled, tickets, seqs, lines, slot_time, seconds)

    def anchored(self, sealed: Sealed, lines: Sequence[Line]) -> None:
        """A batch is anchored; its lines."""
        self._proofs.put(sealed)
        for line in lines:
            if line["event"] == "anchored":
                self._post(self._batched, batch_of(line))

    def answer(self, machine: AnyMachine, waits: str = "") -> None:
        """Between slots: what is asked of the state, for a millisecond; ``waits``: why there is no slot."""
        self._questions.answer(machine)
        self._watch.look(machine)
        if waits != self._waits:
            self._waits = waits
            self._post(setattr, self._feed, "waits", waits)

    def ends(self) -> None:
        """The host ends: no more commands are taken."""
        self._post(self._intake.stop)

    def stop(self, orderly: bool) -> None:
        """Tell all who wait, and end.

        Args:
            orderly: whether every slot that was begun is told.
        """
        self._orderly = orderly
        if self._thread.is_alive():
            self._post(self._stopping)
            self._thread.join(4 * _END_SECONDS)
        self._archive.close()
        self._proofs.close()

    def _post(self, call: Callable[..., object], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call, *arguments)

    def _now_of(self, machine: AnyMachine, unanchored: int) -> dict[str, Any]:
        return {
            "batch": machine.batch,
            "unanchored": unanchored,
            "accounts": len(machine.accounts) - 1,
            "insurance": machine.insurance,
            "fees": int(machine.fees),
            "nearest_ppm": self._watch.nearest(),
        }

    # The loop's side

    def _told(self, told: Told) -> None:
        try:
            self._directory.look(told.lines)
            self._feed.tell(told)
        finally:
            self._taken += 1

    def _settled(
        self,
        tickets: Sequence[object],
        seqs: Sequence[int],
        lines: Sequence[Line],
        slot_time: int,
        seconds: float,
    ) -> None:
        self._feed.took(seconds)
        self._intake.settle(tickets, seqs, lines, slot_time)

    def _batched(self, batch: Batch) -> None:
        self._batch = batch
        self._feed.wake()

    def _stopping(self) -> None:
        self._intake.finish(self._orderly)
        assert self._stopped is not None
        self._stopped.set()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failed = error
            if self._started.is_set():
                _log.exception("the gateway has ended; the venue goes on without it")
        finally:
            self._started.set()
            self._socket.close()
            self._loop.close()

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        name = secrets.token_bytes(32)
        workers = ThreadPoolExecutor(1, "gateway-signers")
        self._directory = Directory(self._questions)
        self._sessions = Sessions(self._config.domain, name, self._limits)
        self._intake = Intake(
            self._config.domain, self._offer, self._directory, self._limits, workers, _clock
        )
        self._rates, self._connections = Rates(self._limits.requests), Connections()
        self._open: WeakSet[Connection] = WeakSet()
        self._silent: set[RequestHandler] = set()
        self._status = self._status_now()
        rest = Rest(
            self._config,
            name.hex(),
            self._limits,
            self._feed,
            self._archive,
            self._intake,
            self._directory,
            self._questions,
            self._sessions,
            self._proofs,
            self._status_now,
            _clock,
        )
        runner = web.AppRunner(
            self._app(rest.routes()),
            access_log=None,
            handle_signals=False,
            keepalive_timeout=75,
            shutdown_timeout=_END_SECONDS,
        )
        await runner.setup()
        assert runner.server is not None
        made = runner.server
        server = await self._loop.create_server(lambda: self._guarded(made()), sock=self._socket)
        works = [self._loop.create_task(work) for work in (self._intake.run(), self._tell_status())]
        stopped = self._loop.create_task(self._stopped.wait())
        self._started.set()
        ended, _ = await asyncio.wait((stopped, *works), return_when=asyncio.FIRST_COMPLETED)
        server.close()
        await asyncio.sleep(_LAST_SECONDS)
        await asyncio.gather(*(one.end(1001, "the host ends") for one in [*self._open]))
        await runner.cleanup()
        rest_of_all = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest_of_all:
            task.cancel()
        await asyncio.gather(*rest_of_all, return_exceptions=True)
        workers.shutdown(wait=False)
        for task in ended:
            task.result()

    def _guarded(self, handler: RequestHandler) -> RequestHandler:
        """A connection that does not ask in time is ended, however it dribbles."""

        def look() -> None:
            if handler in self._silent and handler.transport is not None:
                handler.transport.abort()
            self._silent.discard(handler)

        self._silent.add(handler)
        self._loop.call_later(self._limits.read_seconds, look)
        return handler

    async def _tell_status(self) -> None:
        while True:
            self._status = self._status_now()
            self._feed.wake()
            await asyncio.sleep(_STATUS_SECONDS)

    def _status_now(self) -> Status:
        feed, venue = self._feed, self._feed.venue
        return Status(
            time=_clock(),
            slot=feed.slot,
            slot_time=feed.time,
            batch=venue["batch"],
            unanchored=venue["unanchored"],
            waits=feed.waits,
            resting_orders=feed.resting,
            accounts=venue["accounts"],
            insurance=venue["insurance"],
            fees=venue["fees"],
            commands=feed.commands,
            waiting_commands=len(self._intake),
            connections=len(self._connections),
            latency=feed.latency(),
            nearest_ppm=venue["nearest_ppm"],
        )

    # Requests

    def _app(self, routes: Sequence[Route]) -> web.Application:
        app = web.Application(middlewares=[self._middleware], client_max_size=MOST_BYTES)
        for route in routes:
            app.router.add_route(route.method, route.path, self._handler(route))
        for name, spec in (("openapi", openapi.document(routes)), ("asyncapi", asyncapi.document())):
            body = msgspec.json.format(encode(spec))
            app.router.add_get(f"/{name}.json", _fixed(body, "application/json"), allow_head=False)
        app.router.add_get("/v1/stream", self._socket_handler, allow_head=False)
        app.router.add_get("/health", _fixed(b"ok\n", "text/plain"), allow_head=False)
        app.router.add_get("/ready", self._ready, allow_head=False)
        app.router.add_get("/metrics", self._metrics, allow_head=False)
        for path, body, kind in pages.files():
            app.router.add_get(path, _fixed(body, kind), allow_head=False)
        return app

    def _take(self, host: str) -> tuple[int, float]:
        allowed, left, full = self._rates.take(host, time.monotonic())
        if not allowed:
            limit = self._rates.limit
            raise Refused("rate", "too many requests of your address", have=limit + 1, need=limit)
        return left, full

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Limits, and errors as JSON."""
        self._silent.discard(request.protocol)
        host = host_of(request.remote or "")
        left, full, extra = 0, 1.0, {}
        try:
            left, full = self._take(host)
            response = await handler(request)
        except Refused as error:
            response = self._problem(error)
            extra = {"Retry-After": "1"} if error.status in (429, 503) else {}
        except web.HTTPException as error:
            code = _CODES.get(error.status, "request")
            told = Refused(code, error.reason or code, have=request.content_length, need=MOST_BYTES)
            response = self._problem(told if code == "too_large" else Refused(code, error.reason))
            extra = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            request.app.logger.exception("a request failed")
            response = self._problem(Refused("internal", type(error).__name__))
        if not response.prepared:
            response.headers.update(_SAFE | extra)
            response.headers["RateLimit-Limit"] = str(self._rates.limit)
            response.headers["RateLimit-Remaining"] = str(left)
            response.headers["RateLimit-Reset"] = str(max(1, round(full)))
        return response

    def _problem(self, error: Refused) -> web.Response:
        return _json(error.status, error.told(_clock(), self._feed.time))

    def _handler(self, route: Route) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await self._body(request)
            session = await self._session(request) if route.private else None
            given = _given(route, request, body)
            status, told = await route.answer(Call(given, body, session))
            return _json(status, told)

        return handle

    async def _body(self, request: web.Request) -> bytes:
        if (size := request.content_length or 0) > MOST_BYTES:
            raise Refused("too_large", "the body is larger than any message", have=size, need=MOST_BYTES)
        try:
            async with asyncio.timeout(self._limits.read_seconds):
                return await request.read()
        except TimeoutError:
            seconds = self._limits.read_seconds
            raise Refused(
                "slow", "the body did not come in time, in seconds", have=None, need=seconds
            ) from None

    async def _session(self, request: web.Request) -> Open:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer":
            raise Refused("session", "needs Authorization: Bearer and a token of POST /v1/sessions")
        session = self._sessions.find(token.strip(), _clock())
        await self._still(session)
        return session

    async def _still(self, session: Open) -> None:
        """Raises :class:`Refused` once a session's signer may not read its account any more."""
        now = _clock()
        self._sessions.find(session.token, now)
        known = await self._directory.find(session.account)
        until = known.until(session.signer)
        if known.generation != session.generation or until is None or until < now:
            self._sessions.end(session.token)
            raise Refused("session", "who opened the session may not read the account any more")

    async def _socket_handler(self, request: web.Request) -> web.StreamResponse:
        host, limits = host_of(request.remote or ""), self._limits
        if self._connections.of(host) >= limits.connections:
            have = self._connections.of(host) + 1
            raise Refused("connections", "too many of your address", have=have, need=limits.connections)
        if len(self._connections) >= limits.all_connections:
            have = len(self._connections) + 1
            raise Refused("connections", "too many of all", have=have, need=limits.all_connections)
        desk = Desk(
            self._feed,
            self._archive,
            self._intake,
            limits,
            lambda token: self._sessions.find(token, _clock()),
            self._still,
            lambda: self._status,
            lambda: self._batch,
            self._proofs,
            self._take,
            lambda error: error.told(_clock(), self._feed.time),
            _clock,
        )
        one = Connection(desk, host)
        self._connections.add(host)
        self._open.add(one)
        try:
            return await one.serve(request)
        finally:
            self._connections.remove(host)

    async def _ready(self, _: web.Request) -> web.Response:
        why = self._feed.waits
        return _json(503 if why else 200, {"ready": not why, "waits": why})

    async def _metrics(self, _: web.Request) -> web.Response:
        text = metrics(self._status_now())
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


#: A page of ours runs our scripts alone, and nobody frames it.
_SAFE = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "hawse",
}


def _clock() -> int:
    return time.time_ns() // 1_000_000


def _markets(machine: AnyMachine) -> dict[int, MarketNow]:
    return {n: MarketNow(m.mark, m.mark_time, m.open_interest) for n, m in machine.markets.items()}


def _json(status: int, told: Any) -> web.Response:
    return web.Response(status=status, body=encode(told), content_type="application/json")


def _fixed(body: bytes, kind: str) -> Handler:
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=kind, charset="utf-8")

    return handle


def _given(route: Route, request: web.Request, body: bytes) -> Any:
    """Parameters, or a typed body.

    Raises:
        Refused: request or line.
    """
    given: dict[str, str] = dict(request.match_info)
    for name, value in request.query.items():
        if name in given:
            raise Refused("request", f"{name}: is given twice")
        given[name] = value
    try:
        parameters = msgspec.convert(given, route.takes, strict=False)
        if route.body in (None, bytes):
            return parameters
        return msgspec.json.decode(body, type=route.body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Refused("request", str(error)) from None
