"""The leaves of the state as they stand at a slot's end, the chain of slot digests, and the roots above them.

Orders and control leaves change with every command, so they are packed here by hand;
``hawse.commit.leaves`` says what stands where.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

from hawse.commit import roots
from hawse.commit.inputs import operation_body
from hawse.commit.leaves import (
    AccountLeaf,
    InstrumentLeaf,
    Position,
    QuarantinedIndex,
    RuleSetLeaf,
    Source,
    StrategyLeaf,
    TagLeaf,
    UnderlyingLeaf,
)
from hawse.commit.roots import Section
from hawse.commit.trees import NodeTag, Tree
from hawse.risk.settlement import Settlement

from .feeds import Feed
from .hashing import hash_many, tree_root
from .ledger import INSURANCE, Account, Ledger, Market, Order, Strategy
from .nonces import NonceWindow
from .rules import RuleSet
from .slot import OperationKind

#: Tag, version, instrument, side, price, queue, handle, account, client id, lots, flags.
_ORDER = struct.Struct(">BBHBiQIIQIB")
#: Tag, version, index, transfers, timer, steps of liquidation, number of signers.
_CONTROL = struct.Struct(">BBIIQIB")
#: Address, expiry, appointed, longest life.
_SIGNER = struct.Struct(">20sQQI")


class Commitments:
    """What the state has committed to, behind the last slot.

    Attributes:
        digest: chain over the leaves that each slot changed, 32 bytes.
    """

    def __init__(self, ledger: Ledger, digest: bytes = roots.FIRST_DIGEST) -> None:
        """The leaves of ``ledger`` as they are; nothing of it counts as changed afterwards."""
        self.digest = digest
        self._ledger = ledger
        self._accounts = _Indexed(NodeTag.ACCOUNTS)
        self._control = _Indexed(NodeTag.CONTROL)
        self._instruments: dict[int, bytes] = {}
        self._underlyings: dict[int, bytes] = {}
        self._tags: dict[int, bytes] = {}
        self._strategies: dict[int, bytes] = {}
        self._waiting: dict[int, bytes] = {}
        self._rules: dict[int, bytes] = {}
        self._changes()

    def end_slot(self, slot: int) -> bytes:
        """Take in what a slot has changed; returns the digest behind it, 32 bytes."""
        self.digest = roots.slot_digest(self.digest, slot, self._changes())
        return self.digest

    def _changes(self) -> list[bytes]:
        """Hashes of the leaves that are others than at the slot's beginning, by tag, then by key."""
        ledger = self._ledger
        accounts = ledger.accounts
        out = self._accounts.changes([(i, account_leaf(accounts[i])) for i in sorted(ledger.changed)])
        out += self._control.changes([(i, control_leaf(accounts[i])) for i in sorted(ledger.signed)])
        out += _moved([ledger.moved[handle] for handle in sorted(ledger.moved)])
        out += _renewed(self._instruments, ledger.priced, lambda n: instrument_leaf(ledger.markets[n]))
        out += _renewed(self._underlyings, ledger.observed, lambda n: underlying_leaf(ledger.feeds[n]))
        out += self._tagged()
        out += self._planned()
        out += self._waited()
        out += self._ruled()
        ledger.changed.clear()
        ledger.signed.clear()
        ledger.moved.clear()
        return out

    def _tagged(self) -> list[bytes]:
        """Hashes of the tags that changed hands; one that came free is nobody's."""
        ledger, out = self._ledger, []
        owners = {tag.number: tag.owner for tag in ledger.tags.values()}
        for number in sorted(ledger.tagged):
            before = self._tags.pop(number, None)
            if number in owners:
                self._tags[number] = tag_leaf(number, owners[number])
            if before != self._tags.get(number):
                out.append(self._tags.get(number) or tag_leaf(number, bytes(20)))
        ledger.tagged.clear()
        return out

    def _planned(self) -> list[bytes]:
        """Hashes of the strategies that are others than before; one that is over is zeros but its place."""
        ledger, out = self._ledger, []
        for place in sorted(ledger.planned):
            before, one = self._strategies.pop(place, None), ledger.strategies.get(place)
            if one is not None:
                self._strategies[place] = strategy_leaf(one)
            if before != self._strategies.get(place):
                out.append(self._strategies.get(place) or no_strategy(place))
        ledger.planned.clear()
        return out

    def _waited(self) -> list[bytes]:
        """Hashes of the indices that wait anew, or for another batch; one that waits no more has batch 0."""
        ledger, out = self._ledger, []
        for index in sorted(ledger.waited):
            before = self._waiting.pop(index, None)
            if index in ledger.waiting:
                self._waiting[index] = QuarantinedIndex(index, ledger.waiting[index]).hash()
            if before != self._waiting.get(index):
                out.append(self._waiting.get(index) or QuarantinedIndex(index, 0).hash())
        ledger.waited.clear()
        return out

    def _ruled(self) -> list[bytes]:
        """Hash of the rules that came into force."""
        rules = self._ledger.rules
        if rules is None or rules.number in self._rules:
            return []
        self._rules = {rules.number: rules_leaf(rules, self._ledger.rules_from)}
        return [*self._rules.values()]

    # Roots

    def accounts(self) -> Tree:
        """The tree over the account leaves, by index."""
        return self._accounts.tree()

    def control_root(self) -> bytes:
        """Root over the control leaves, by index."""
        return self._control.tree().root

    def orders_root(self) -> bytes:
        """Root over the resting orders: by instrument, side, best price, then queue."""
        return tree_root([order.leaf or b"" for order in self._resting()], NodeTag.ORDERS)

    def _resting(self) -> Iterator[Order]:
        return iter(sorted(self._ledger.orders.values(), key=Order.place))

    def sections(self) -> tuple[Section, ...]:
        """Instruments, underlyings, tags, strategies, indices that wait, the rules in force."""
        instruments, underlyings = _section(self._instruments), _section(self._underlyings)
        waiting, rules = _section(self._waiting), _section(self._rules)
        return instruments, underlyings, _section(self._tags), _section(self._strategies), waiting, rules


def _renewed(known: dict[int, bytes], numbers: set[int], leaf_of: Callable[[int], bytes]) -> list[bytes]:
    """Hashes of leaves that are others than before, ascending; none of ``numbers`` is left."""
    out = []
    for number in sorted(numbers):
        leaf = leaf_of(number)
        if known.get(number) != leaf:
            known[number] = leaf
            out.append(leaf)
    numbers.clear()
    return out


def _section(leaves: dict[int, bytes]) -> Section:
    """By number."""
    return Section(len(leaves), tree_root([leaves[number] for number in sorted(leaves)], NodeTag.SECTION))


class _Indexed:
    """Leaves of one kind by account index, and the tree over them, which is made when it is asked for."""

    def __init__(self, tag: NodeTag) -> None:
        self._tree = Tree(tag)
        self._leaves: list[bytes] = []
        self._behind: dict[int, bytes] = {}

    def changes(self, leaves: Sequence[tuple[int, bytes]]) -> list[bytes]:
        """Take in encoded leaves, ascending by index; hashes of those that are others than before."""
        out = []
        known = self._leaves
        hashes = hash_many([leaf for _, leaf in leaves])
        for (index, _), leaf in zip(leaves, hashes, strict=True):
            if index == len(known):
                known.append(leaf)
            elif known[index] == leaf:
                continue
            else:
                known[index] = leaf
            self._behind[index] = leaf
            out.append(leaf)
        return out

    def tree(self) -> Tree:
        self._tree.update(self._behind)
        self._behind.clear()
        return self._tree


def _moved(orders: Iterable[Order]) -> list[bytes]:
    """Hashes of the orders that are others than at the slot's beginning; one that has ended has no lots.

    One that came and went within the slot never had a leaf.
    """
    mine = [order for order in orders if order.remaining or order.leaf is not None]
    out = []
    for order, leaf in zip(mine, hash_many([order_leaf(order) for order in mine]), strict=True):
        if order.leaf != leaf:
            order.leaf = leaf
            out.append(leaf)
    return out


def account_leaf(account: Account) -> bytes:
    """Bytes of an account's leaf."""
    positions = [Position(n, p.size, p.entry, p.funding) for n, p in sorted(account.positions.items())]
    return AccountLeaf(
        index=account.index,
        owner=account.owner,
        subaccount=account.subaccount,
        generation=account.generation,
        asset=0,
        collateral=account.collateral,
        mode=0,
        only=account.only,
        flags=account.flags,
        positions=tuple(positions),
    ).encode()


def control_leaf(account: Account) -> bytes:
    """Bytes of an account's control leaf: its owner and agents, and what they have signed."""
    if account.index == INSURANCE:
        return _CONTROL.pack(0x12, 2, INSURANCE, 0, 0, 0, 0)
    agents = account.agents.values()
    out = _CONTROL.pack(
        0x12, 2, account.index, account.transfers, account.timer, account.step, 1 + len(agents)
    )
    out += _SIGNER.pack(account.owner, 0, 0, 0) + _nonces(account.nonces)
    for agent in agents:
        out += _SIGNER.pack(agent.address, agent.expiry, agent.appointed, agent.max_life)
        out += _nonces(agent.nonces)
    return out


def _nonces(window: NonceWindow) -> bytes:
    return window.floor.to_bytes(6, "big") + bytes([len(window.used)]) + window.encoded


def order_leaf(order: Order) -> bytes:
    """Bytes of an order's leaf."""
    return _ORDER.pack(
        0x50,
        2,
        order.instrument,
        order.side,
        order.price,
        order.queue,
        order.handle,
        order.account.index,
        order.client_id,
        order.remaining,
        order.leaf_flags,
    )


def instrument_leaf(market: Market) -> bytes:
    """Hash of an instrument's leaf."""
    terms, impact, funding = market.terms, market.impact, market.funding
    total, until, elapsed, heard, value, last = _settlement(market.settlement)
    return InstrumentLeaf(
        number=terms.number,
        kind=terms.kind,
        underlying=terms.underlying,
        state=market.status,
        expiry=terms.expiry,
        first=terms.first,
        count=terms.count,
        base=terms.base,
        mark=market.mark,
        mark_time=market.mark_time,
        last_trade=market.last_trade,
        basis=market.basis,
        trade_time=market.trade_time,
        impact_time=impact.time,
        impact=impact.value or 0,
        impact_total=impact.total,
        impact_elapsed=impact.elapsed,
        premium_time=funding.premium.time,
        premium=funding.premium.value or 0,
        premium_until=funding.until,
        premium_total=funding.premium.total,
        premium_elapsed=funding.premium.elapsed,
        funding_begun=funding.begun,
        funding_index=funding.index,
        funding=funding.cumulative,
        settlement=total,
        settlement_time=until,
        settlement_elapsed=elapsed,
        settlement_heard=heard,
        settlement_value=value,
        settlement_last=last,
        open_interest=market.open_interest,
        dust=(market.dust, market.funding_dust),
    ).hash()


def _settlement(state: Settlement | None) -> tuple[int, int, int, int, int, int]:
    """What the average of the index before expiry is made of; zeros before its window."""
    if state is None:
        return 0, 0, 0, 0, 0, 0
    average = state.average
    return average.total, average.time, average.elapsed, state.heard, average.value or 0, state.last


def underlying_leaf(feed: Feed) -> bytes:
    """Hash of an underlying's leaf."""
    said = [one for one in feed.observed if one is not None]
    return UnderlyingLeaf(
        number=feed.terms.number,
        index=feed.index,
        time=feed.time,
        quorum=feed.counted,
        sources=tuple(Source(one.publisher, one.value, one.time, one.number) for one in said),
    ).hash()


_STRATEGY = (
    "place",
    "client_id",
    "instrument",
    "side",
    "trigger",
    "trigger_price",
    "limit_price",
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


def strategy_leaf(one: Strategy) -> bytes:
    """Hash of a strategy's leaf."""
    fields = {name: getattr(one, name) for name in _STRATEGY}
    return StrategyLeaf(
        account=one.account.index,
        generation=one.account.generation,
        strategy=one.kind,
        offset=one.offset_ppm,
        fired=int(one.fired),
        **fields,
    ).hash()


def no_strategy(place: int) -> bytes:
    """Hash of the leaf of a place that came free."""
    zeros = dict.fromkeys((*_STRATEGY, "account", "generation", "strategy", "offset", "fired"), 0)
    return StrategyLeaf(**zeros | {"place": place}).hash()


def rules_leaf(rules: RuleSet, slot: int) -> bytes:
    """Hash of the leaf of rules that a slot has brought."""
    return RuleSetLeaf(rules.number, slot, operation_body(OperationKind.RULES, rules.encode())).hash()


def tag_leaf(number: int, owner: bytes) -> bytes:
    """Hash of a tag's leaf: whose it is. No engine has limits for it yet."""
    none, counts = 2**64 - 1, dict.fromkeys(("orders", "buy", "sell", "sent"), 0)
    limits = dict.fromkeys(("order_size", "open_orders", "open_buy", "open_sell", "commands", "credit"), none)
    return TagLeaf(tag=number, owner=owner, killed=False, **limits, **counts).hash()
