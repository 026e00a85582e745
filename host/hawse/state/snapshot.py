"""Snapshots: readable, canonical JSON of all that a machine is, behind hashes that guard it."""

import json
from collections.abc import Sequence
from heapq import heapify
from typing import Any

from tiny_keccak import keccak256

from hawse.instruments import Instrument, Status
from hawse.risk.funding import Funding
from hawse.risk.prices import Average, Observation
from hawse.risk.settlement import Settlement
from hawse.wire import TimeInForce

from .agents import MOST_AGENTS, Agent
from .config import VenueConfig
from .feeds import Feed
from .ledger import (
    INSURANCE,
    TRANSFERS_MAX,
    Account,
    Ledger,
    Market,
    Order,
    Position,
    Strategy,
    StrategyKind,
    Tag,
)
from .nonces import NonceWindow
from .rules import RuleSet, check_flags
from .strategies import MOST

#: First line. Digest of the body, rules hash, state root (32 bytes each) and body follow.
MAGIC = b"hawse state 2\n"
#: Fields of an order.
_ORDER = (
    "client_id",
    "handle",
    "instrument",
    "side",
    "self_trade",
    "price",
    "remaining",
    "queue",
    "reduce_only",
)

#: Fields of a market behind its number.
_MARKET = (
    "mark",
    "mark_time",
    "open_interest",
    "dust",
    "last_trade",
    "trade_time",
    "basis",
    "status",
    "funding_dust",
)

#: Fields of a strategy behind its place, account and whether it has fired.
_STRATEGY = (
    "client_id",
    "kind",
    "instrument",
    "side",
    "trigger",
    "trigger_price",
    "limit_price",
    "offset_ppm",
    "quantity",
    "every",
    "low",
    "high",
    "until",
    "queue",
    "next",
    "done",
    "best",
)


class SnapshotError(Exception):
    """Bytes that are no snapshot of this venue."""


def seal(body: Any, rules: bytes, root: bytes) -> bytes:
    """The snapshot of a machine with these rules, this state root and this body."""
    text = json.dumps(body, separators=(",", ":")).encode()
    return MAGIC + bytes(keccak256(text)) + rules + root + text


def unseal(config: VenueConfig, data: bytes) -> tuple[Any, bytes]:
    """Body and state root of a snapshot.

    Raises:
        SnapshotError: no snapshot, damaged, of another version, or of a venue with other rules.
    """
    if not data.startswith(MAGIC):
        raise SnapshotError(f"begins with {data[: len(MAGIC)]!r}, not {MAGIC!r}")
    at = len(MAGIC)
    digest, rules, root = (data[at + n : at + n + 32] for n in (0, 32, 64))
    text = data[at + 96 :]
    if bytes(keccak256(text)) != digest:
        raise SnapshotError("damaged: the body does not have the digest in front of it")
    if rules != config.rules_hash():
        raise SnapshotError(f"rules: {rules.hex()}, not {config.rules_hash().hex()}")
    return json.loads(text), root


def ledger_body(ledger: Ledger) -> list[Any]:
    """All of a ledger between two slots."""
    return [
        *_shared(ledger),
        sorted([tag.number, tag.owner.hex()] for tag in ledger.tags.values()),
        sorted([index, until] for index, until in ledger.waiting.items()),
        [ledger.rules_from, _encoded(ledger.rules)],
        [_account_body(account) for account in ledger.accounts],
        [
            [place, one.account.index, int(one.fired), *(getattr(one, name) for name in _STRATEGY)]
            for place, one in sorted(ledger.strategies.items())
        ],
    ]


def _market_body(number: int, market: Market) -> list[Any]:
    impact, funding = market.impact, market.funding
    premium = funding.premium
    out: list[Any] = [number, *(getattr(market, name) for name in _MARKET)]
    out += [impact.time, impact.value or 0, impact.total, impact.elapsed]
    out += [premium.time, premium.value or 0, premium.total, premium.elapsed]
    out += [funding.begun, funding.until, funding.index, funding.cumulative]
    return [*out, _average(market.settlement)]


def _read_market(market: Market, values: list[Any]) -> None:
    """What :func:`_market_body` gave behind the number."""
    known, averages = values[: len(_MARKET)], values[len(_MARKET) :]
    for name, value in zip(_MARKET, known, strict=True):
        setattr(market, name, value)
    market.status = Status(market.status)
    time, mid, total, elapsed, *averages = averages
    market.impact = Average(time, mid or None, total, elapsed)
    time, premium, total, elapsed, begun, until, index, cumulative, window = averages
    average = Average(time, premium if until else None, total, elapsed)
    market.funding = Funding(begun, average, until, index, cumulative)
    market.settlement = _settlement(market.terms, window)


def part_body(whole: Any, accounts: Sequence[Account]) -> list[Any]:
    """A ledger of the venue's own account and those of one owner, at the marks of a machine of either form.

    Their indices and their orders' handles are other ones.
    """
    bodies = [_account_body(account) for account in accounts]
    orders = [order for body in bodies for order in body[-1]]
    for handle, order in enumerate(orders):
        order[_ORDER.index("handle")] = handle
    owner = accounts[-1].owner
    empty = [
        n for n, one in enumerate(accounts) if n and one.is_bare() and (one.subaccount or len(accounts) == 2)
    ]
    tags = [[1, owner.hex()]] if orders else []
    return [*_shared(whole), tags, [[n, 0] for n in empty], [0, _encoded(whole.rules)], bodies, []]


def _shared(whole: Any) -> list[Any]:
    """What belongs to no account."""
    return [
        whole.fees,
        [_market_body(n, m) for n, m in whole.markets.items()],
        [[n, f.index, f.time, f.counted, _said(f)] for n, f in whole.feeds.items()],
    ]


def _encoded(rules: RuleSet | None) -> str:
    return rules.encode().hex() if rules else ""


def _account_body(account: Account) -> list[Any]:
    orders = sorted(account.orders.values(), key=lambda order: order.handle)
    return [
        account.owner.hex(),
        account.generation,
        account.subaccount,
        account.collateral,
        account.transfers,
        account.flags,
        [account.nonces.floor, account.nonces.used],
        [_agent_body(agent) for agent in account.agents.values()],
        account.timer,
        account.step,
        [[n, p.size, p.entry, p.funding] for n, p in sorted(account.positions.items())],
        [[getattr(order, name) for name in _ORDER] for order in orders],
    ]


def _agent_body(agent: Agent) -> list[Any]:
    terms = agent.address.hex(), agent.expiry, agent.appointed, agent.max_life
    return [*terms, [agent.nonces.floor, agent.nonces.used]]


def read_ledger(ledger: Ledger, body: Any) -> None:
    """What :func:`ledger_body` gave, into a new ledger.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: not such a body.
    """
    ledger.fees, markets, feeds, tags, waiting, (ledger.rules_from, rules), accounts, plans = body
    ledger.rules = RuleSet.decode(bytes.fromhex(rules)) if rules else None
    if [n for n, *_ in markets] != list(ledger.markets):
        raise ValueError(f"instruments: {[n for n, *_ in markets]}, not {list(ledger.markets)}")
    for number, *values in markets:
        _read_market(ledger.markets[number], values)
    _read_feeds(ledger, feeds)
    for number, owner in tags:
        ledger.free_tags.remove(number)
        ledger.tags[bytes.fromhex(owner)] = Tag(number, bytes.fromhex(owner))
    heapify(ledger.free_tags)
    ledger.tagged.update(tag.number for tag in ledger.tags.values())
    for index, (owner, generation, subaccount, *rest) in enumerate(accounts):
        if index == INSURANCE:
            account = ledger.accounts[INSURANCE]
        else:
            account = _opened(ledger, bytes.fromhex(owner), generation, subaccount)
        _read_account(ledger, account, *rest)
    _check_owners(ledger)
    _read_waiting(ledger, waiting)
    _read_strategies(ledger, plans)
    ledger.handles = [h for h in range(len(ledger.client_ids)) if h not in ledger.orders]


def _average(state: Settlement | None) -> list[int]:
    if state is None:
        return []
    average = state.average
    return [average.time, average.value or 0, average.total, average.elapsed, state.last, state.heard]


def _settlement(terms: Instrument, body: Any) -> Settlement | None:
    """Of an instrument that expires, once its window has begun."""
    if not body:
        return None
    time, value, total, elapsed, last, heard = body
    if not terms.expiry or not 0 <= elapsed <= terms.window:
        raise ValueError(f"settlement: {elapsed} ms of {terms.window} of instrument {terms.number}")
    return Settlement(terms.window, Average(time, value or None, total, elapsed), last, heard)


def _read_strategies(ledger: Ledger, plans: Any) -> None:
    for place, index, fired, *values in plans:
        fields = dict(zip(_STRATEGY, values, strict=True))
        account, markets = ledger.accounts[index], ledger.markets
        mine = account.strategies
        if index == INSURANCE or fields["client_id"] in mine or fields["instrument"] not in markets:
            raise ValueError(f"strategies: {fields['client_id']} of account {index}")
        if (
            fired not in (0, 1)
            or len(mine) >= MOST
            or not min(StrategyKind) <= fields["kind"] <= max(StrategyKind)
        ):
            raise ValueError(f"strategies: {fired}, {fields['kind']} of account {index}")
        ledger.places.remove(place)
        one = Strategy(place, account, fired=bool(fired), **fields)
        ledger.strategies[place] = mine[one.client_id] = one
        ledger.planned.add(place)
    heapify(ledger.places)
    if [place for place, *_ in plans] != sorted(ledger.strategies):
        raise ValueError("strategies: not ascending by place")


def _said(feed: Feed) -> list[list[int]]:
    return [[one.publisher, one.value, one.time, one.number] for one in feed.observed if one is not None]


def _read_feeds(ledger: Ledger, feeds: Any) -> None:
    if [n for n, *_ in feeds] != list(ledger.feeds):
        raise ValueError(f"underlyings: {[n for n, *_ in feeds]}, not {list(ledger.feeds)}")
    for number, index, time, counted, said in feeds:
        feed = ledger.feeds[number]
        feed.index, feed.time, feed.counted = index, time, counted
        people = [publisher for publisher, *_ in said]
        if people != sorted({*people} & {*range(len(feed.observed))}):
            raise ValueError(f"underlyings: publishers {people} of {number}, of {len(feed.observed)}")
        for one in said:
            feed.observed[one[0]] = Observation(*one)


def _read_account(
    ledger: Ledger,
    account: Account,
    collateral: int,
    transfers: int,
    flags: int,
    nonces: Any,
    agents: Any,
    timer: int,
    step: int,
    positions: Any,
    orders: Any,
) -> None:
    account.collateral, account.transfers, account.nonces = collateral, transfers, _window(nonces)
    check_flags(flags)
    account.flags = flags
    _read_agents(account, agents)
    ledger.set_timer(account, timer)
    account.step = step
    account.positions = {n: Position(size, entry, paid) for n, size, entry, paid in positions}
    for values in orders:
        fields = dict(zip(_ORDER, values, strict=True))
        order = Order(account=account, time_in_force=TimeInForce.GTC, **fields)
        terms = ledger.markets[order.instrument].terms
        if not terms.base <= order.price < terms.base + terms.count:
            raise ValueError(f"orders: one at {order.price}, not {terms.count} ticks from {terms.base} on")
        ledger.add(order)
        ledger.rest(order)


def _opened(ledger: Ledger, owner: bytes, generation: int, subaccount: int) -> Account:
    """A user's account, which is no other one's twin."""
    if ledger.account_of(owner, subaccount) is not None:
        raise ValueError(f"accounts: subaccount {subaccount} of {owner.hex()} stands there twice")
    return ledger.open_account(owner, generation, subaccount)


def _window(body: Any) -> NonceWindow:
    floor, used = body
    if used != sorted(set(used)):
        raise ValueError(f"nonces: {used} are not ascending")
    return NonceWindow(used, floor)


def _read_agents(account: Account, agents: Any) -> None:
    """As they were appointed, each once, and none its own owner."""
    before = 0
    for address, expiry, appointed, max_life, nonces in agents:
        agent = Agent(bytes.fromhex(address), expiry, appointed, max_life, _window(nonces))
        if agent.address in account.agents or agent.address == account.owner or appointed <= before:
            raise ValueError(f"agents: {address} of account {account.index}, appointed by {appointed}")
        account.agents[agent.address], before = agent, appointed
    if len(account.agents) > MOST_AGENTS:
        raise ValueError(f"agents: {len(account.agents)} of account {account.index}, not {MOST_AGENTS}")


def _check_owners(ledger: Ledger) -> None:
    """Each owner has a main account, which alone counts transfers and opened none of itself by one."""
    for owner, mine in ledger.by_owner.items():
        if 0 not in mine:
            raise ValueError(f"accounts: {owner.hex()} has no subaccount 0")
        for account in mine.values():
            number = account.generation & TRANSFERS_MAX
            if bool(number) != bool(account.subaccount) or number > mine[0].transfers:
                raise ValueError(f"generation: transfer {number} of account {account.index}")
            if account.flags != mine[0].flags:
                raise ValueError(f"flags: {account.flags} of account {account.index}, not {mine[0].flags}")
            if account.transfers and account.subaccount:
                raise ValueError(f"transfers: {account.transfers} of account {account.index}")


def _read_waiting(ledger: Ledger, waiting: Any) -> None:
    """Indices of just the empty accounts wait."""
    ledger.waiting = {index: until for index, until in waiting}
    ledger.waited.update(ledger.waiting)
    empty = [a.index for a in ledger.accounts[1:] if ledger.is_empty(a)]
    if [index for index, _ in waiting] != empty:
        raise ValueError(f"waiting: {waiting}, but accounts {empty} are empty")
