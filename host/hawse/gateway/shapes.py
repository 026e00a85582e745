"""What the gateway takes and says, as typed structs; OpenAPI is made of them.

Prices are in ticks, quantities in lots, money in quanta, times in milliseconds since 1970.
"""

from typing import Annotated, Any, Literal

import msgspec

from .levels import Level

U16 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
U32 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
U63 = Annotated[int, msgspec.Meta(ge=0, le=0x7FFF_FFFF_FFFF_FFFF)]
Signature = Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{128}$")]


class Time(msgspec.Struct):
    """The gateway's clock, and time and number of the last slot."""

    time: int
    slot_time: int
    slot: int


class Terms(msgspec.Struct):
    """An instrument: what one tick of one lot is worth in quanta, its band, limits, fees and funding.

    ``expiry`` is of a future, and ``settlement_window`` the time before it whose average it settles at, in
    milliseconds; both are 0 of a perpetual. So is ``funding_interval``, 0 for none; ``impact_notional`` is in
    quanta.
    """

    number: int
    name: str
    quanta_per_tick_lot: tuple[int, int]
    lowest_price: int
    highest_price: int
    first_mark: int
    minimum_quantity: int
    minimum_notional: int
    initial_margin_ppm: int
    maintenance_ppm: int
    maker_fee_ppm: int
    taker_fee_ppm: int
    kind: Literal["perpetual", "future"]
    expiry: int
    settlement_window: int
    funding_interval: int
    funding_cap_ppm: int
    impact_notional: int


class About(msgspec.Struct):
    """A venue: its signing domain, its limits and its instruments.

    ``gateway`` is the id of the gateway's present run, which a session's message names.
    """

    name: str
    chain_id: int
    contract: str
    token: str
    operator: str
    rules_hash: str
    gateway: str
    minimum_deposit: int
    order_quota: int
    position_quota: int
    requests_per_second: int
    longest_body: int
    instruments: list[Terms]


class BookOf(msgspec.Struct):
    """A book behind slot ``sequence``, best levels first; ``check`` is of the whole book."""

    instrument: int
    sequence: int
    time: int
    bids: list[Level]
    asks: list[Level]
    check: int


class Trade(msgspec.Struct):
    """A trade; its side is the taker's, and its number is unique in the venue."""

    trade: int
    slot: int
    time: int
    instrument: int
    side: str
    price: int
    quantity: int


class Trades(msgspec.Struct):
    """Trades in order; ``next`` is the slot to go on from."""

    trades: list[Trade]
    next: int


class Ticker(msgspec.Struct):
    """An instrument at a glance; ``last_price`` is None before the gateway has seen a trade."""

    instrument: int
    sequence: int
    mark: int
    mark_time: int
    open_interest: int
    bid: Level | None
    ask: Level | None
    last_price: int | None
    last_trade: int | None


class Batch(msgspec.Struct):
    """An anchored batch: its slots, first and last, and the transaction that anchored it."""

    batch: int
    slots: tuple[int, int]
    state_root: str
    transaction: str


class Latency(msgspec.Struct):
    """How long the last slots took, in microseconds, from their cut to their outcome."""

    slots: int
    p50: int
    p99: int
    max: int


class Status(msgspec.Struct):
    """How the venue does; ``nearest_ppm`` are the accounts that are nearest to their liquidation.

    Each is what it has above maintenance, in millionths of its equity; below 0 it is liquidated. No names.
    """

    time: int
    slot: int
    slot_time: int
    batch: int
    unanchored: int
    waits: str
    resting_orders: int
    accounts: int
    insurance: int
    fees: int
    commands: int
    waiting_commands: int
    connections: int
    latency: Latency
    nearest_ppm: list[int]


class SessionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A signed ``Session``: read an account until ``expiry``."""

    account: U32
    generation: U63
    time: U63
    expiry: U63
    signature: Signature


class Session(msgspec.Struct):
    """An open session; its token is named in the header ``Authorization: Bearer``."""

    token: str
    account: int
    generation: int
    signer: str
    expires: int


class Ended(msgspec.Struct):
    """Whether a session was there to be ended."""

    ended: bool


class Owned(msgspec.Struct):
    """Index and generation of the account that an owner's deposit opened."""

    owner: str
    account: int
    generation: int


class Held(msgspec.Struct):
    """A position: lots, below 0 short; their cost in tick·lots; and what closing at the mark would add.

    ``unpaid_funding``: quanta that it owes of funding, below 0 that it gets.
    """

    instrument: int
    size: int
    entry: int
    mark: int
    unrealised: int
    unpaid_funding: int


class Resting(msgspec.Struct):
    """An open order."""

    client_id: int
    instrument: int
    side: str
    price: int
    remaining: int
    reduce_only: bool


class AgentOf(msgspec.Struct):
    """A key that may trade, until when, and for how long its commands may hold."""

    agent: str
    expiry: int
    max_life: int


StrategyName = Literal["stop", "take", "trail", "slice", "hedge"]


class StrategyOf(msgspec.Struct):
    """A rule that the machine runs: lots done, whether its price was there, when it acts, and until when."""

    client_id: int
    strategy: StrategyName
    instrument: int
    side: Literal["buy", "sell"]
    quantity: int
    done: int
    fired: bool
    next: int
    until: int


class AccountOf(msgspec.Struct):
    """An account behind slot ``slot``.

    ``margin`` is what positions and open orders hold of its equity, ``maintenance`` what equity has to be, or
    the account is liquidated.
    """

    account: int
    owner: str
    subaccount: int
    generation: int
    slot: int
    collateral: int
    equity: int
    margin: int
    maintenance: int
    free_collateral: int
    withdrawable: int
    positions: list[Held]
    orders: list[Resting]
    strategies: list[StrategyOf]
    agents: list[AgentOf]
    cancel_all_at: int


class SumsOf(msgspec.Struct):
    """What an account has; ``margin`` is what positions and open orders hold of its equity."""

    equity: int
    margin: int
    maintenance: int
    free_collateral: int


class WhatIf(msgspec.Struct):
    """What an order would do, behind slot ``slot``, and nothing was sent.

    ``held``: what it would take of free collateral. A refusal has the venue's reason, and both numbers.
    """

    slot: int
    admitted: bool
    held: int
    before: SumsOf
    after: SumsOf
    reason: str = ""
    have: int = 0
    need: int = 0


class Nonces(msgspec.Struct):
    """Nonces of the session's signer: those from ``lowest`` on may be used, but not the ``used``."""

    signer: str
    lowest: int
    highest: int
    used: list[int]
    time: int
    slot_time: int


class OrderOf(msgspec.Struct):
    """What became of an order; ``state`` is open, filled or cancelled, ``reason`` why it was cancelled."""

    client_id: int
    seq: int
    instrument: int
    side: str
    price: int
    quantity: int
    cumulative: int
    remaining: int
    fee: int
    state: str
    reason: str


class OrdersOf(msgspec.Struct):
    """Orders that had a client id, oldest first, and every line that was told of it."""

    orders: list[OrderOf]
    lines: list[dict[str, Any]]


class Lines(msgspec.Struct):
    """Lines of outcomes in order, as ``docs/outcomes.md`` has them; ``next`` is the slot to go on from."""

    lines: list[dict[str, Any]]
    next: int


class Withdrawals(msgspec.Struct):
    """Anchored withdrawals of the session's owner, each with what the contract's ``claim`` takes."""

    withdrawals: list[dict[str, Any]]


class ReceiptOf(msgspec.Struct):
    """The operator's signed word on one input, as ``hawse receipt check`` takes it."""

    format: str
    chain_id: int
    contract: str
    receipts: dict[str, Any]
    times: list[int]
    input: dict[str, Any]
    outcome: dict[str, Any]
    siblings: list[str]
    batch: dict[str, Any] | None


class Done(msgspec.Struct, omit_defaults=True):
    """What became of a command: all lines of it that are the sender's; the first is the answer."""

    slot: int
    slot_time: int
    seq: int
    event: str
    lines: list[dict[str, Any]]


class Pending(msgspec.Struct):
    """A command that was taken, and whose slot has not been carried out in time; ask for its status."""

    pending: bool
    account: int
    nonce: int


class Problem(msgspec.Struct):
    """What is wrong, by code and both numbers, and both clocks.

    Where the venue refused, ``outcome`` has its line.
    """

    error: dict[str, Any]
    time: int
    slot_time: int
    outcome: Done | None = None
