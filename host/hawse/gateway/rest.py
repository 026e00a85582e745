"""What is asked by HTTP: every path, what it takes, and what it answers."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import astuple, dataclass, field
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from hawse.commit.exit_file import ExitFile
from hawse.publisher.store import Outcomes
from hawse.receipt import Receipt
from hawse.state.config import VenueConfig
from hawse.state.machines import AnyMachine
from hawse.state.what_if import Asked, part_of, what_if
from hawse.state.what_if import WhatIf as Judged
from hawse.wire import Side

from .accounts import account_at, described, lowest, nonces_of
from .archive import Archive
from .directory import Directory, Questions
from .errors import REFUSED, Refused
from .feed import Feed
from .intake import Intake
from .limits import Limits
from .proofs import Proofs
from .sessions import Open, Sessions
from .shapes import (
    U16,
    About,
    AccountOf,
    Batch,
    BookOf,
    Done,
    Ended,
    Lines,
    Nonces,
    OrderOf,
    OrdersOf,
    Owned,
    Pending,
    Problem,
    ReceiptOf,
    Session,
    SessionRequest,
    Status,
    SumsOf,
    Terms,
    Ticker,
    Time,
    Trades,
    WhatIf,
    Withdrawals,
)
from .sockets import parsed

T = TypeVar("T")
Depth = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Address = Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{40}$")]
#: What a slot's number may be in the file of outcomes.
Slot = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


#: No order has a higher one; typed bounds end at 2**63.
CLIENT_ID_MOST = 2**64 - 1
#: Inputs of the largest batch that is hashed to show what it has in an input's place.
MOST_HASHED = 1 << 16


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A path without parameters."""


class OfInstrument(msgspec.Struct, forbid_unknown_fields=True):
    """Which instrument."""

    number: U16


class OfBook(OfInstrument, forbid_unknown_fields=True):
    """And how many levels of each side."""

    depth: Depth = 4096


class OfTrades(OfInstrument, forbid_unknown_fields=True):
    """And from which slot on; at most ``limit`` and the rest of the last one's slot."""

    from_: Slot = msgspec.field(default=0, name="from")
    limit: Limit = 1000


class OfBatches(msgspec.Struct, forbid_unknown_fields=True):
    """The newest before a number."""

    before: Slot = 2**62
    limit: Limit = 100


class OfOwner(msgspec.Struct, forbid_unknown_fields=True):
    """Whose account."""

    address: Address


class OfOrders(msgspec.Struct, forbid_unknown_fields=True):
    """By the account's own number."""

    client_id: Annotated[int, msgspec.Meta(ge=0)]


class OfReceipt(msgspec.Struct, forbid_unknown_fields=True):
    """Of which input."""

    seq: Slot


class OfLines(msgspec.Struct, forbid_unknown_fields=True):
    """From a slot on; at most ``limit`` and the rest of the last one's slot."""

    from_: Slot = msgspec.field(default=0, name="from")
    limit: Limit = 1000


class OfOrder(msgspec.Struct, forbid_unknown_fields=True):
    """An order as it would be sent; its price in ticks, its quantity in lots."""

    instrument: U16
    side: Literal["buy", "sell"]
    price: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
    quantity: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]
    reduce_only: bool = False


@dataclass(frozen=True)
class Call:
    """A request: its parameters, its body, and its session where the route has one."""

    given: Any
    body: bytes = b""
    session: Open | None = None

    @property
    def reader(self) -> Open:
        """The session of a route that has one."""
        assert self.session is not None
        return self.session


@dataclass(frozen=True)
class Route:
    """A path, and what answers it.

    Attributes:
        method, path, summary: as OpenAPI has them.
        answer: gives a struct, and the HTTP status.
        says: struct of each status.
        takes: struct of its path's and query's parameters.
        body: struct of its body; bytes for a signed line.
        private: needs a session.
    """

    method: str
    path: str
    summary: str
    answer: Callable[[Call], Awaitable[tuple[int, Any]]]
    says: dict[int, Any]
    takes: type[Any] = Nothing
    body: Any = None
    private: bool = False
    errors: tuple[str, ...] = field(default=())


class Rest:
    """Answers of the gateway.

    Args:
        config: of the venue.
        name: the id of this run, in hexadecimal.
        limits: of the gateway.
        feed, archive, intake, directory, questions, sessions, proofs: what it asks.
        status, batch: the latest.
        clock: milliseconds now.
    """

    def __init__(
        self,
        config: VenueConfig,
        name: str,
        limits: Limits,
        feed: Feed,
        archive: Archive,
        intake: Intake,
        directory: Directory,
        questions: Questions,
        sessions: Sessions,
        proofs: Proofs,
        status: Callable[[], Status],
        clock: Callable[[], int],
    ) -> None:
        self._limits, self._feed, self._archive, self._intake = limits, feed, archive, intake
        self._directory, self._questions, self._sessions = directory, questions, sessions
        self._proofs, self._status, self._clock = proofs, status, clock
        self._config = config
        self._terms = {i.number: terms_of(i) for i in config.instruments}
        self._about = about(config, name, limits, list(self._terms.values()))

    def routes(self) -> list[Route]:
        """All of them."""
        own = "/v1/account"
        return [
            Route("GET", "/v1/time", "both clocks", self._time, {200: Time}),
            Route("GET", "/v1/venue", "signing domain, limits and instruments", self._venue, {200: About}),
            Route("GET", "/v1/status", "how the venue does", self._told_status, {200: Status}),
            Route("GET", "/v1/instruments", "all instruments", self._instruments, {200: list[Terms]}),
            Route(
                "GET",
                "/v1/instruments/{number}",
                "one instrument",
                self._instrument,
                {200: Terms},
                OfInstrument,
            ),
            Route(
                "GET", "/v1/instruments/{number}/book", "levels of a book", self._book, {200: BookOf}, OfBook
            ),
            Route(
                "GET",
                "/v1/instruments/{number}/trades",
                "trades in order",
                self._trades,
                {200: Trades},
                OfTrades,
            ),
            Route("GET", "/v1/tickers", "all instruments at a glance", self._tickers, {200: list[Ticker]}),
            Route(
                "GET",
                "/v1/batches",
                "anchored batches, the newest first",
                self._batches,
                {200: list[Batch]},
                OfBatches,
            ),
            Route(
                "GET",
                "/v1/owners/{address}",
                "an owner's account",
                self._owner,
                {200: Owned},
                OfOwner,
                errors=("account",),
            ),
            Route(
                "POST",
                "/v1/commands",
                "a signed command; answers what became of it",
                self._command,
                {200: Done, 202: Pending, REFUSED: Problem},
                body=bytes,
                errors=("line", "signature", "signer", "account", "gone", "stopping"),
            ),
            Route(
                "POST",
                "/v1/sessions",
                "open a session by a signed message",
                self._open,
                {200: Session},
                body=SessionRequest,
                errors=("request", "clock", "session", "signature", "signer", "account", "gone"),
            ),
            Route("DELETE", "/v1/sessions", "end the session", self._end, {200: Ended}, private=True),
            Route(
                "GET",
                own,
                "collateral, margin, positions, open orders",
                self._account,
                {200: AccountOf},
                private=True,
            ),
            Route(
                "GET", f"{own}/nonces", "what nonces may be used", self._nonces, {200: Nonces}, private=True
            ),
            Route(
                "GET",
                f"{own}/orders",
                "what became of an order, by client id",
                self._orders,
                {200: OrdersOf},
                OfOrders,
                private=True,
            ),
            Route("GET", f"{own}/fills", "fills in order", self._fills, {200: Lines}, OfLines, private=True),
            Route(
                "GET",
                f"{own}/lines",
                "all outcomes in order",
                self._lines,
                {200: Lines},
                OfLines,
                private=True,
            ),
            Route(
                "GET",
                f"{own}/receipt",
                "the operator's signed word on an input of one's own",
                self._receipt,
                {200: ReceiptOf},
                OfReceipt,
                private=True,
                errors=("not_found",),
            ),
            Route(
                "GET",
                f"{own}/what-if",
                "margin of an order before it is sent",
                self._what_if,
                {200: WhatIf},
                OfOrder,
                private=True,
            ),
            Route(
                "GET",
                f"{own}/proof",
                "what the account has in the last anchored batch, with its path",
                self._proof,
                {200: ExitFile},
                private=True,
            ),
            Route(
                "GET",
                f"{own}/withdrawals",
                "anchored withdrawals, with proofs",
                self._withdrawals,
                {200: Withdrawals},
                private=True,
            ),
        ]

    # Public

    async def _time(self, _: Call) -> tuple[int, Any]:
        return 200, Time(self._clock(), self._feed.time, self._feed.slot)

    async def _venue(self, _: Call) -> tuple[int, Any]:
        return 200, self._about

    async def _told_status(self, _: Call) -> tuple[int, Any]:
        return 200, self._status()

    async def _instruments(self, _: Call) -> tuple[int, Any]:
        return 200, list(self._terms.values())

    def _listed(self, number: int) -> Terms:
        if number not in self._terms:
            raise Refused("not_found", "there is no instrument of this number", have=number, need=None)
        return self._terms[number]

    async def _instrument(self, call: Call) -> tuple[int, Any]:
        return 200, self._listed(call.given.number)

    async def _book(self, call: Call) -> tuple[int, Any]:
        return 200, self._feed.book(self._listed(call.given.number).number, call.given.depth)

    async def _trades(self, call: Call) -> tuple[int, Any]:
        number = self._listed(call.given.number).number
        return 200, Trades(*await self._archive.trades(number, call.given.from_, call.given.limit))

    async def _tickers(self, _: Call) -> tuple[int, Any]:
        return 200, [self._feed.ticker(number) for number in self._terms]

    async def _batches(self, call: Call) -> tuple[int, Any]:
        lines = await self._archive.ask(lambda kept: kept.anchored(call.given.before, call.given.limit))
        return 200, [batch_of(line) for line in lines]

    async def _owner(self, call: Call) -> tuple[int, Any]:
        owner = bytes.fromhex(call.given.address[2:])
        found = await self._questions.ask(("owner", owner), lambda machine: machine.account_of(owner))
        if found is None:
            raise Refused(
                "account", "the address has no account; a deposit opens one", have=call.given.address
            )
        return 200, Owned("0x" + owner.hex(), found.index, found.generation)

    # Signed

    async def _command(self, call: Call) -> tuple[int, Any]:
        ticket = self._intake.submit(parsed(call.body))
        try:
            # Whoever gives up waiting does not take the command back.
            done = await asyncio.wait_for(asyncio.shield(ticket.done), self._limits.answer_seconds)
        except TimeoutError:
            return 202, Pending(True, ticket.account, int(ticket.rows["nonce"][0]))
        if done.event in ("refused", "rejected"):
            return REFUSED, self.problem(done)
        return 200, done

    def problem(self, done: Done) -> Problem:
        """What the venue refused, or the engine rejected."""
        line = done.lines[0]
        numbers = {name: line[name] for name in ("detail", "have", "need") if name in line}
        message = f"{done.event} by the venue: {line['reason']}"
        if numbers:
            message += f", has {numbers['have']}, needs {numbers['need']}"
        error = {"code": line["reason"], "message": message} | numbers
        return Problem(error, self._clock(), done.slot_time, done)

    async def _open(self, call: Call) -> tuple[int, Any]:
        asked: SessionRequest = call.given
        one = await self._directory.check(
            asked.account, lambda known: self._sessions.open(asked, known, self._clock())
        )
        return 200, Session(one.token, one.account, one.generation, "0x" + one.signer.hex(), one.expires)

    async def _end(self, call: Call) -> tuple[int, Any]:
        return 200, Ended(self._sessions.end(call.reader.token))

    # Of a session

    async def _account(self, call: Call) -> tuple[int, Any]:
        session = call.reader

        def ask(machine: AnyMachine) -> AccountOf | None:
            one = account_at(machine, session.account)
            return None if one is None or one.generation != session.generation else described(machine, one)

        found = await self._questions.ask(("account", session.account, session.generation), ask)
        return 200, self._living(found, session)

    async def _what_if(self, call: Call) -> tuple[int, Any]:
        session, given, resting = call.reader, call.given, self._feed.resting
        side = Side.SELL if given.side == "sell" else Side.BUY
        asked = Asked(given.instrument, side, given.price, given.quantity, given.reduce_only)

        def ask(machine: AnyMachine) -> WhatIf | None:
            one = account_at(machine, session.account)
            if one is None or one.generation != session.generation:
                return None
            slot = machine.next_slot - 1
            return judged(slot, what_if(*part_of(machine, one, resting), asked))

        found = await self._questions.ask(("what-if", session.account, session.generation, asked), ask)
        return 200, self._living(found, session)

    def _living(self, found: T | None, session: Open) -> T:
        if found is None:
            raise Refused("gone", "the account has another generation", have=session.generation, need=None)
        return found

    async def _proof(self, call: Call) -> tuple[int, Any]:
        return 200, await self._proofs.of(call.reader.account, call.reader.generation)

    async def _nonces(self, call: Call) -> tuple[int, Any]:
        session = call.reader

        def ask(machine: AnyMachine) -> tuple[int, list[int], int]:
            one = account_at(machine, session.account)
            assert one is not None
            window = nonces_of(one, session.signer)
            return lowest(window), list(window.used), machine.time

        which = "nonces", session.account, session.signer
        least, used, slot_time = await self._questions.ask(which, ask)
        highest = used[-1] if used else 0
        return 200, Nonces("0x" + session.signer.hex(), least, highest, used, self._clock(), slot_time)

    async def _orders(self, call: Call) -> tuple[int, Any]:
        session, client_id = call.reader, call.given.client_id
        if client_id > CLIENT_ID_MOST:
            raise Refused("request", "client_id: is no u64", have=client_id, need=CLIENT_ID_MOST)
        orders = await self._archive.ask(lambda kept: kept.orders(session.account, client_id))
        lines = await self._archive.ask(lambda kept: kept.told_of(session.account, client_id))
        mine = [order for order in orders if order.generation == session.generation]
        names = ("cumulative", "remaining", "fee", "state", "reason")
        told = [
            OrderOf(
                order.client_id,
                order.seq,
                order.instrument,
                "sell" if order.side else "buy",
                order.price,
                order.quantity,
                *(getattr(order, name) for name in names),
            )
            for order in mine
        ]
        # An index is given again, and so may the number be that another owner used.
        return 200, OrdersOf(told, [ln for ln in lines if ln.get("generation") == session.generation])

    async def _lines(self, call: Call) -> tuple[int, Any]:
        slots, after = await self._page(call)
        return 200, Lines([line for _, lines in slots for line in lines], after)

    async def _fills(self, call: Call) -> tuple[int, Any]:
        slots, after = await self._page(call)
        return 200, Lines([ln for _, lines in slots for ln in lines if ln["event"] == "trade"], after)

    async def _page(self, call: Call) -> tuple[list[tuple[int, list[dict[str, Any]]]], int]:
        session = call.reader
        return await self._archive.account(
            session.account, session.generation, call.given.from_, call.given.limit
        )

    async def _receipt(self, call: Call) -> tuple[int, Any]:
        session, seq, where = call.reader, call.given.seq, (self._config.chain_id, self._config.contract)

        def ask(kept: Outcomes) -> Receipt | None:
            found, mine = kept.receipts_of(seq), (session.account, session.generation)
            if found is None or not kept.has_sent(*mine, found.receipts.slot, seq):
                return None
            return kept.receipt(*where, seq, MOST_HASHED)

        found = await self._archive.ask(ask)
        if found is None:
            why = "no input of the account with this number has a receipt; it follows with a later slot"
            raise Refused("not_found", why, have=seq, need=None)
        return 200, ReceiptOf(**json.loads(found.encode()))

    async def _withdrawals(self, call: Call) -> tuple[int, Any]:
        known = await self._directory.find(call.reader.account)
        owner = "0x" + known.owner.hex()
        return 200, Withdrawals(await self._archive.ask(lambda kept: kept.withdrawals(owner)))


def judged(slot: int, found: Judged) -> WhatIf:
    """As a trader gets it."""
    before, after = (SumsOf(*astuple(sums)) for sums in (found.before, found.after))
    told = WhatIf(slot, found.refusal is None, before.free_collateral - after.free_collateral, before, after)
    if found.refusal is not None:
        told.reason = found.refusal.reason.name.lower()
        told.have, told.need = found.refusal.have, found.refusal.need
    return told


def terms_of(i: Any) -> Terms:
    """An instrument as everybody may know it."""
    return Terms(
        number=i.number,
        name=i.name,
        quanta_per_tick_lot=(i.numerator, i.denominator),
        lowest_price=i.base,
        highest_price=i.base + i.count - 1,
        first_mark=i.first_mark,
        minimum_quantity=i.minimum_quantity,
        minimum_notional=i.minimum_notional,
        initial_margin_ppm=i.initial_margin_ppm,
        maintenance_ppm=i.maintenance_ppm,
        maker_fee_ppm=i.maker_fee_ppm,
        taker_fee_ppm=i.taker_fee_ppm,
        kind="future" if i.expiry else "perpetual",
        expiry=i.expiry,
        settlement_window=i.window,
        funding_interval=i.funding_interval,
        funding_cap_ppm=i.funding_cap_ppm,
        impact_notional=i.impact_notional,
    )


def about(config: VenueConfig, name: str, limits: Limits, terms: list[Terms]) -> About:
    """A venue as everybody may know it."""
    return About(
        name="Hawse",
        chain_id=config.chain_id,
        contract="0x" + config.contract.hex(),
        token="0x" + config.token.hex(),
        operator="0x" + config.operator.hex(),
        rules_hash="0x" + config.rules_hash().hex(),
        gateway="0x" + name,
        minimum_deposit=config.minimum_deposit,
        order_quota=config.order_quota,
        position_quota=config.position_quota,
        requests_per_second=limits.requests,
        longest_body=4096,
        instruments=terms,
    )


def batch_of(line: dict[str, Any]) -> Batch:
    """Of the line that tells of an anchor."""
    first, last = line["slots"]
    return Batch(line["batch"], (first, last), line["state_root"], line["transaction"])
