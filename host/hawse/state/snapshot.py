"""Snapshots: readable, canonical JSON of all that a machine is, behind hashes that guard it."""

import json
from heapq import heapify
from typing import Any

from tiny_keccak import keccak256

from hawse.wire import TimeInForce

from .config import VenueConfig
from .ledger import INSURANCE, Account, Ledger, Order, Position, Tag
from .nonces import NonceWindow

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
        ledger.fees,
        [[n, m.mark, m.mark_time, m.open_interest, m.dust] for n, m in ledger.markets.items()],
        sorted([tag.number, tag.owner.hex()] for tag in ledger.tags.values()),
        [_account_body(account) for account in ledger.accounts],
    ]


def _account_body(account: Account) -> list[Any]:
    orders = sorted(account.orders.values(), key=lambda order: order.handle)
    return [
        account.owner.hex(),
        account.generation,
        account.collateral,
        account.nonces.floor,
        account.nonces.used,
        account.timer,
        [[n, p.size, p.entry] for n, p in sorted(account.positions.items())],
        [[getattr(order, name) for name in _ORDER] for order in orders],
    ]


def read_ledger(ledger: Ledger, body: Any) -> None:
    """What :func:`ledger_body` gave, into a new ledger.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: not such a body.
    """
    ledger.fees, markets, tags, accounts = body
    if [n for n, *_ in markets] != list(ledger.markets):
        raise ValueError(f"instruments: {[n for n, *_ in markets]}, not {list(ledger.markets)}")
    for number, mark, mark_time, open_interest, dust in markets:
        market = ledger.markets[number]
        market.mark, market.mark_time = mark, mark_time
        market.open_interest, market.dust = open_interest, dust
    for number, owner in tags:
        ledger.free_tags.remove(number)
        ledger.tags[bytes.fromhex(owner)] = Tag(number, bytes.fromhex(owner))
    heapify(ledger.free_tags)
    ledger.tagged.update(tag.number for tag in ledger.tags.values())
    for index, (owner, generation, *rest) in enumerate(accounts):
        if index == INSURANCE:
            account = ledger.accounts[INSURANCE]
        else:
            account = ledger.open_account(bytes.fromhex(owner), generation)
        _read_account(ledger, account, *rest)
    ledger.handles = [h for h in range(len(ledger.client_ids)) if h not in ledger.orders]


def _read_account(
    ledger: Ledger,
    account: Account,
    collateral: int,
    floor: int,
    used: Any,
    timer: int,
    positions: Any,
    orders: Any,
) -> None:
    account.collateral, account.nonces = collateral, NonceWindow(used, floor)
    ledger.set_timer(account, timer)
    account.positions = {n: Position(size, entry) for n, size, entry in positions}
    for values in orders:
        fields = dict(zip(_ORDER, values, strict=True))
        order = Order(account=account, time_in_force=TimeInForce.GTC, **fields)
        ledger.add(order)
        ledger.rest(order)
