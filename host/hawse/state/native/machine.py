"""The native form of :class:`hawse.state.machine.Machine`: the same calls, the same bytes."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from hawse.commit.data import ExitState
from hawse.commit.exits import ExitMark
from hawse.commit.trees import NoSuchLeaf
from hawse.instruments import Instrument, Status, Underlying
from hawse.risk.funding import Funding
from hawse.risk.margin import MoneyOverflow
from hawse.risk.prices import Average, Observation
from hawse.risk.settlement import Settlement
from hawse.state.agents import Agent
from hawse.state.clearing import ClearingError
from hawse.state.config import VenueConfig
from hawse.state.feeds import Feed
from hawse.state.inputs import StateError, check_slot
from hawse.state.ledger import INSURANCE, Account, Exposure, Market, Order, Position, Strategy
from hawse.state.nonces import NonceWindow
from hawse.state.outcomes import INPUT_BYTES, OUTCOME_BYTES, Signers, SlotLeaves
from hawse.state.rules import RuleSet
from hawse.state.slot import SlotInput
from hawse.state.snapshot import SnapshotError
from hawse.wire import Opcode, Reason
from hawse.wire.dtypes import EVENT, ORDER, Array

from . import bindings
from .batch import PackedBatch
from .bindings import Capacity, MadeStruct, State, copied, wide
from .packed import PackedAdmission, PackedSigners, packed
from .together import Messages, Ran, Together

#: Bytes from one leaf of a slot to the next.
_LEAF_ROOM = 136
_BOUNDARY, _OPEN, _BROKEN, _SEALING = range(4)
_PHASES = (
    "between two slots",
    "within a slot, waiting for the engine's reports",
    "broken off within a slot",
    "at the end of a batch that is not sealed",
)


class _Accounts(Sequence[Account]):
    """The accounts by index, each read when it is asked for."""

    def __init__(self, machine: "NativeMachine") -> None:
        self._machine = machine

    def __len__(self) -> int:
        return self._machine.count

    @overload
    def __getitem__(self, index: int) -> Account: ...
    @overload
    def __getitem__(self, index: slice) -> list[Account]: ...
    def __getitem__(self, index: int | slice) -> Account | list[Account]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self._machine.read_account(place) for place in places]
        return self._machine.read_account(places)

    def __iter__(self) -> Iterator[Account]:
        return (self._machine.read_account(index) for index in range(len(self)))


class NativeMachine:
    """Accounts, positions, resting orders and queues of one venue: what ``Machine`` is, in C++.

    What is read of it (accounts, orders, markets) are copies.

    Args:
        config: the venue's parameters.
        capacity: what there is room for at first; there is more when it is needed.
        flags: for the compiler.
    """

    def __init__(
        self, config: VenueConfig, capacity: Capacity | None = None, flags: Sequence[str] = ()
    ) -> None:
        self.config = config
        self._flags = tuple(flags)
        self._config_bytes = config.encode()
        self._state = State(self._config_bytes, capacity or self._room(), *self._flags)
        self._made = MadeStruct()
        self._admission: PackedAdmission | None = None
        self._fill_fees: NDArray[np.int64] = np.zeros(0, np.int64)
        self._rooms: Together | None = None
        self._look()

    @staticmethod
    def takes(config: VenueConfig) -> bool:
        """Whether the native form knows the rules of this configuration."""
        return State.size_of(config.encode(), Capacity()) > 0

    def _room(self) -> Capacity:
        """What the machine's own commands may need comes on top."""
        least = Capacity()
        return Capacity(inputs=least.inputs + 8 * self.config.geometry.orders)

    def _grow(self) -> None:
        """The same machine with room for twice as much."""
        data = self._state.snapshot()
        assert data is not None, "there is too much for a slot, so there is none yet"
        self._state = _restored(self._config_bytes, data, self._state.capacity.doubled(), self._flags)

    def _look(self) -> None:
        self.counters = self._state.counters()
        self._markets: dict[int, Market] | None = None
        self._feeds: dict[int, Feed] | None = None

    # What there is

    @property
    def accounts(self) -> Sequence[Account]:
        """By index, 0 the venue's own."""
        return _Accounts(self)

    @property
    def orders(self) -> dict[int, Order]:
        """Between two slots, the resting orders by handle."""
        rows = self._state.resting()
        people = {int(index): self._bare_account(int(index)) for index in np.unique(rows["account"])}
        return {int(row["handle"]): _order(row, people[int(row["account"])]) for row in rows}

    def resting_rows(self) -> Array:
        """The resting orders as rows of ``bindings.RESTING``, in the order of their tree."""
        return self._state.resting()

    @property
    def memory(self) -> int:
        """Memory that is set apart for the state."""
        return self._state.bytes

    @property
    def markets(self) -> Mapping[int, Market]:
        """What changes of each instrument, by number."""
        if self._markets is None:
            rows, heard = self._state.markets(len(self.config.instruments)), self.feeds
            self._markets = {
                terms.number: _market(terms, row, heard.get(terms.underlying))
                for terms, row in zip(self.config.instruments, rows, strict=True)
            }
        return self._markets

    @property
    def feeds(self) -> Mapping[int, Feed]:
        """What is known of each underlying, by number."""
        if self._feeds is None:
            rows = self._state.feeds(len(self.config.underlyings))
            self._feeds = {
                terms.number: _feed(terms, row)
                for terms, row in zip(self.config.underlyings, rows, strict=True)
            }
        return self._feeds

    @property
    def next_slot(self) -> int:
        """Number of the next slot."""
        return int(self.counters["next_slot"])

    @property
    def time(self) -> int:
        """Of the last slot, milliseconds since 1970."""
        return int(self.counters["time"])

    @property
    def last_seq(self) -> int:
        """Sequence number of the last input."""
        return int(self.counters["last_seq"])

    @property
    def batch(self) -> int:
        """Number of the batch in work, from 1."""
        return int(self.counters["batch"])

    @property
    def deposit_index(self) -> int:
        """Of the last deposit taken in."""
        return int(self.counters["deposit_index"])

    @property
    def deposit_accumulator(self) -> bytes:
        """Behind the last deposit taken in, 32 bytes."""
        return bytes(self.counters["deposit_accumulator"])

    @property
    def request_index(self) -> int:
        """Of the last forced request."""
        return int(self.counters["request_index"])

    @property
    def request_accumulator(self) -> bytes:
        """Behind the last forced request, 32 bytes."""
        return bytes(self.counters["request_accumulator"])

    @property
    def batch_counts(self) -> tuple[int, int]:
        """Inputs and withdrawals of the batch in work."""
        return int(self.counters["batch_inputs"]), int(self.counters["batch_withdrawals"])

    @property
    def rules(self) -> RuleSet | None:
        """The rules in force, None before the first."""
        size = int(self.counters["rules_size"])
        return RuleSet.decode(self._state.rules(size)) if size else None

    @property
    def deposited(self) -> int:
        """Over all time, in quanta."""
        return wide(self.counters["deposited"])

    @property
    def withdrawn(self) -> int:
        """Over all time, in quanta."""
        return wide(self.counters["withdrawn"])

    @property
    def fees(self) -> int:
        """Fees held for the venue, in quanta."""
        return wide(self.counters["fees"])

    @property
    def insurance(self) -> int:
        """Insurance, in quanta."""
        return int(self._account_row(INSURANCE)["collateral"])

    @property
    def digest(self) -> bytes:
        """Chain over the leaves that each slot changed, behind the last slot, 32 bytes."""
        return bytes(self.counters["digest"])

    @property
    def command_seqs(self) -> tuple[int, ...]:
        """Sequence number of each message of the last slot, authorisations first."""
        return self._admission.command_seqs if self._admission else ()

    @property
    def transfers(self) -> dict[int, tuple[int, int]]:
        """Account and generation that each TRANSFER of the last slot went to, by sequence number."""
        rows = self._admission.transfer_rows if self._admission else ()
        return {int(row["seq"]): (int(row["account"]), int(row["generation"])) for row in rows}

    @property
    def machine_commands(self) -> dict[int, Reason]:
        """Why the machine gave each of its own commands of the last slot, by sequence number."""
        rows = self._admission.machine_rows if self._admission else ()
        return {int(row["seq"]): Reason(row["reason"]) for row in rows}

    @property
    def machine_accounts(self) -> dict[int, int]:
        """As ``Machine.machine_accounts``."""
        rows = self._admission.machine_rows if self._admission else ()
        return {int(row["seq"]): int(row["account"]) for row in rows}

    @property
    def fill_fees(self) -> list[int]:
        """Fee of each fill of the last slot, in quanta: of each trade, the taker's and then the maker's."""
        return [int(fee) for fee in self._fill_fees]

    def owners(self) -> Array:
        """Owner and generation of every account: rows of ``bindings.OWNER``."""
        return self._state.owners(self.count)

    @property
    def count(self) -> int:
        """Number of accounts, the venue's included."""
        return int(self.counters["accounts"])

    @property
    def fills(self) -> int:
        """Fills of the last slot, two of each trade."""
        return len(self._fill_fees)

    def account_of(self, owner: bytes, subaccount: int = 0) -> Account | None:
        """A subaccount of ``owner``, if there is one; 0 is the one that a deposit opens."""
        index = self._state.find(owner, subaccount)
        return None if index < 0 else self.read_account(index)

    def accounts_of(self, owner: bytes) -> list[Account]:
        """All accounts of an owner, by subaccount."""
        same = (self.owners()["owner"] == np.frombuffer(owner, np.uint8)).all(axis=1)
        mine = [self.read_account(int(index)) for index in np.flatnonzero(same) if index != INSURANCE]
        return sorted(mine, key=lambda account: account.subaccount)

    def client_ids(self, handles: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Client id of the order that has each handle, or had it in the last slot."""
        return self._state.client_ids(handles)

    def sole_signers(self, indices: NDArray[np.uint32]) -> NDArray[np.uint8] | None:
        """As ``Machine.sole_signers``."""
        return self._state.sole_signers(indices.astype(np.uint32))

    def _account_row(self, index: int) -> np.void:
        found = self._state.account(index)
        if found is None:
            raise IndexError(f"account {index} of {len(self.accounts)}")
        return found[0]

    def _bare_account(self, index: int) -> Account:
        row = self._account_row(index)
        agents = (_agent(agent) for agent in self._state.agents(index, int(row["agents"])))
        return Account(
            index,
            row["owner"].tobytes(),
            int(row["generation"]),
            int(row["subaccount"]),
            int(row["collateral"]),
            _window(row),
            {agent.address: agent for agent in agents},
            int(row["transfers"]),
            int(row["flags"]),
            int(row["timer"]),
        )

    def read_account(self, index: int) -> Account:
        """A copy of an account, with its positions, orders and exposure."""
        row, account = self._account_row(index), self._bare_account(index)
        for h in self._state.holdings(index, int(row["holdings"])):
            number, size, lots = int(h["instrument"]), int(h["size"]), h["lots"].tolist()
            if size:
                account.positions[number] = Position(size, wide(h["entry"]), int(h["funding"]))
            if any(lots):
                account.open[number] = Exposure(lots, wide(h["loss"]), wide(h["basis"]))
        for s in self._state.strategies(index, int(row["strategies"])):
            strategy = _strategy(s, account)
            account.strategies[strategy.client_id] = strategy
        for o in reversed(self._state.orders(index, int(row["orders"]))):
            order = _order(o, account)
            account.orders[order.client_id] = order
            account.reducing += order.reduce_only
        return account

    def equity(self, account: Account) -> int:
        """As ``Machine.equity``."""
        return int(self._sound(account.index)["equity"])

    def unpaid_funding(self, account: Account, instrument: int) -> int:
        """As ``Machine.unpaid_funding``."""
        position = account.positions.get(instrument)
        return self.markets[instrument].owed(position) if position else 0

    def free_collateral(self, account: Account) -> int:
        """Equity without what positions and open orders hold; may be negative."""
        return wide(self._sound(account.index)["free_collateral"])

    def withdrawable(self, account: Account) -> int:
        """What a withdrawal may take, in quanta."""
        owed = self._state.shortfall()
        if owed is None or owed > self.insurance:
            return 0
        return wide(self._sound(account.index)["withdrawable"])

    def _sound(self, index: int) -> np.void:
        found = self._state.account(index)
        if found is None:
            raise IndexError(f"account {index} of {len(self.accounts)}")
        if found[1]:
            raise MoneyOverflow(f"equity of account {index}", 0)
        return found[0]

    def sum_of_balances(self) -> Fraction:
        """Exact equity of all accounts at mark, insurance's too, with fees and dust, in quanta."""
        total = Fraction(self.fees)
        markets = self.markets
        for m in markets.values():
            total += Fraction(m.dust, m.terms.denominator) + Fraction(m.funding_dust, m.funding_parts)
        for account in self.accounts:
            total += account.collateral
            for number, p in account.positions.items():
                m = markets[number]
                value = (p.size * m.mark - p.entry) * m.terms.numerator
                owed, rest = m.unpaid(p)
                total += Fraction(value, m.terms.denominator) + Fraction(rest, m.funding_parts) - owed
        return total

    # One slot

    def _expect(self, *phases: int) -> None:
        if int(self.counters["phase"]) not in phases:
            raise StateError(f"the machine is {_PHASES[self.counters['phase']]}")

    def check(self, slot: SlotInput, signers: Signers | PackedSigners) -> None:
        """Whether :meth:`open_slot` takes ``slot``.

        Raises:
            StateError: not between two slots, or an input that does not follow on.
        """
        self._expect(_BOUNDARY)
        check_slot(self, slot, signers)

    def open_slot(self, slot: SlotInput, signers: Signers | PackedSigners) -> PackedAdmission:
        """Apply a slot's inputs in order, as ``Machine.open_slot``.

        Raises:
            StateError: not between two slots, or an input that does not follow on; nothing has changed.
            MoneyOverflow: the equity of an account leaves int64 at a new mark.
        """
        self._expect(_BOUNDARY)
        ours = signers if isinstance(signers, PackedSigners) else PackedSigners.of(signers)
        try:
            struct, kept = packed(slot, ours)
        except ValueError as error:  # a buffer of the wrong size or type
            self._refuse(slot, signers)
            raise StateError(str(error)) from error
        while (found := self._state.open(struct, self._made)) == bindings.TOO_MUCH:
            self._grow()
        del kept
        self._look()
        if found == bindings.UNFIT:
            self._refuse(slot, signers)
            raise StateError("the native state does not take the slot")
        if found == bindings.OVERFLOW:
            raise MoneyOverflow("a balance", wide(self.counters["overflow"]))
        self._admission = PackedAdmission(self._made)
        return self._admission

    def _refuse(self, slot: SlotInput, signers: Signers | PackedSigners) -> None:
        """Say why a slot is none."""
        check_slot(self, slot, signers)

    def together(
        self, engine: NDArray[Any], slots: Sequence[SlotInput], messages: Sequence[Messages]
    ) -> tuple[list[Ran], int, Any]:
        """Carry out plain slots (see :mod:`.together`).

        As ``Together.run``; where the reason is none of the engine, it is raised by :meth:`failed`.
        """
        self._expect(_BOUNDARY)
        if self._rooms is None:
            self._rooms = Together(self.config.geometry.orders)
        self._admission, self._fill_fees = None, np.zeros(0, np.int64)
        found = self._rooms.run(self._state, engine, slots, messages)
        self._look()
        return found

    def clear_slot(self, events: Array) -> bytes:
        """Apply the engine's reports, as ``Machine.clear_slot``.

        Args:
            events: rows of wire EVENT, every record of the slot's burst in order.

        Returns:
            The digest behind the slot, 32 bytes.

        Raises:
            ClearingError: a report that cannot be.
            MoneyOverflow: a balance leaves int64.
            StateError: no slot is open.
        """
        self._expect(_OPEN)
        if events.dtype != EVENT:
            raise StateError(f"events: {events.dtype}, not rows of EVENT")
        found = self._state.clear(np.ascontiguousarray(events), self._made)
        self._look()
        self.failed(found)
        self._fill_fees = copied(self._made.fill_fees, self._made.fill_count, np.dtype("<i8"))
        return self.digest

    def failed(self, found: int) -> None:
        """Raise what :meth:`clear_slot` does, where a native call has found it."""
        if found == bindings.CLEARING:
            seq = int(self.counters["wrong_seq"])
            where = f"command {seq}: its report" if seq else "a report that belongs to no command"
            raise ClearingError(f"{where} cannot be")
        if found == bindings.OVERFLOW:
            raise MoneyOverflow("a balance", wide(self.counters["overflow"]))

    def slot_leaves(self) -> SlotLeaves:
        """As ``Machine.slot_leaves``."""
        self._expect(_BOUNDARY, _SEALING)
        made = self._made
        count = int(made.inputs)
        room, hashes = np.dtype(("u1", (_LEAF_ROOM,))), np.dtype(("u1", (32,)))
        inputs, outcomes = (
            copied(at, count, room).reshape(count, _LEAF_ROOM)
            for at in (made.input_leaves, made.outcome_leaves)
        )
        return SlotLeaves(
            int(made.first_seq),
            inputs[:, :INPUT_BYTES].tobytes(),
            outcomes[:, :OUTCOME_BYTES].tobytes(),
            copied(made.input_hashes, count, hashes).tobytes(),
            copied(made.outcome_hashes, count, hashes).tobytes(),
        )

    # Commitments

    def state_root(self) -> bytes:
        """Root of the whole state, 32 bytes.

        Raises:
            StateError: within a slot.
        """
        self._expect(_BOUNDARY, _SEALING)
        root = self._state.root()
        assert root is not None
        return root

    def account_proof(self, account: int) -> tuple[bytes, ...]:
        """Siblings of an account's leaf, under the accounts root of :meth:`state_root`.

        Raises:
            NoSuchLeaf: no such account.
        """
        if not 0 <= account < len(self.accounts):
            raise NoSuchLeaf(account, len(self.accounts))
        self._state.root()
        return self._state.proof(account)

    def seal_batch(self) -> PackedBatch:
        """End the batch that the last slot closed, and begin the next.

        Raises:
            StateError: the last slot closed no batch, or the batch is sealed already.
            MoneyOverflow: the equity of an account leaves int64.
        """
        self._expect(_SEALING)
        out = np.zeros(1, bindings.BATCH_MADE)
        if self._state.seal(out) != bindings.OK:
            raise MoneyOverflow("equity", wide(self._state.counters()["overflow"]))
        self._look()
        return PackedBatch(out[0], self)

    def exit_state(self, marks: tuple[ExitMark, ...]) -> ExitState:
        """As ``Machine.exit_state``."""
        return ExitState(*self._state.exits(self.count), marks)

    def turn_batch(self) -> None:
        """End the batch that the last slot closed, where another machine seals it.

        Raises:
            StateError: the last slot closed no batch, or the batch is sealed already.
        """
        self._expect(_SEALING)
        self._state.turn()
        self._look()

    def resting_orders(self) -> Array:
        """The resting orders as LOADs (rows of wire ORDER), in the order of their tree.

        Raises:
            StateError: within a slot.
        """
        self._expect(_BOUNDARY, _SEALING)
        rows = self._state.resting()
        out = np.zeros(len(rows), ORDER)
        out["opcode"] = Opcode.LOAD
        out["flags"] = rows["side"] | rows["self_trade"] << 3
        for name in ("instrument", "handle", "tag", "price"):
            out[name] = rows[name]
        out["quantity"], out["seq"], out["order_id"] = rows["remaining"], rows["queue"], rows["handle"]
        return out

    def snapshot(self) -> bytes:
        """All of the machine between two slots, also within a batch, as ``Machine.snapshot``.

        Raises:
            StateError: within a slot.
        """
        self._expect(_BOUNDARY, _SEALING)
        data = self._state.snapshot()
        assert data is not None
        return data

    @classmethod
    def restore(cls, config: VenueConfig, data: bytes) -> "NativeMachine":
        """The machine that gave the snapshot ``data``, of either form.

        Raises:
            SnapshotError: no snapshot, damaged, of another version, or of a venue with other rules.
        """
        machine = cls(config)
        machine._state = _restored(machine._config_bytes, data, machine._state.capacity, machine._flags)
        machine._look()
        return machine


def _restored(config: bytes, data: bytes, capacity: Capacity, compiler: tuple[str, ...]) -> State:
    while True:
        state = State(config, capacity, *compiler)
        found = state.restore(data)
        if found == bindings.OK:
            return state
        if found != bindings.TOO_MUCH:
            raise SnapshotError("no snapshot of this venue, or a damaged one")
        capacity = capacity.doubled()


def _strategy(row: np.void, account: Account) -> Strategy:
    assert row.dtype.names is not None
    names = [name for name in row.dtype.names if name not in ("fired", "zero")]
    return Strategy(account=account, fired=bool(row["fired"]), **{name: int(row[name]) for name in names})


def _market(terms: Instrument, row: np.void, feed: Feed | None) -> Market:
    heard = feed if feed and feed.terms.publishers else None
    funding = Funding(
        int(row["begun"]),
        _average(row["premium"]),
        *(int(row[name]) for name in ("until", "index", "cumulative")),
    )
    market = Market(terms, int(row["mark"]), feed=heard, impact=_average(row["impact"]), funding=funding)
    for name in ("mark_time", "open_interest", "last_trade", "trade_time", "basis"):
        setattr(market, name, int(row[name]))
    market.dust, market.funding_dust = wide(row["dust"]), wide(row["funding_dust"])
    market.status = Status(int(row["status"]))
    if row["in_window"]:
        average = _average(row["window"])
        market.settlement = Settlement(terms.window, average, int(row["last_index"]), int(row["heard"]))
    return market


def _average(row: np.void) -> Average:
    value = int(row["value"]) if row["is"] else None
    return Average(int(row["time"]), value, wide(row["total"]), int(row["elapsed"]))


def _feed(terms: Underlying, row: np.void) -> Feed:
    observed = [
        Observation(publisher, int(one["value"]), int(one["time"]), int(one["number"])) if one["is"] else None
        for publisher, one in enumerate(row["observed"][: len(terms.publishers)])
    ]
    return Feed(terms, int(row["index"]), int(row["time"]), int(row["counted"]), observed)


def _window(row: np.void) -> NonceWindow:
    used = [int.from_bytes(nonce.tobytes(), "big") for nonce in row["used"][: row["nonces"]]]
    return NonceWindow(used, int(row["floor"]))


def _agent(row: np.void) -> Agent:
    terms = int(row["expiry"]), int(row["appointed"]), int(row["max_life"])
    return Agent(row["address"].tobytes(), *terms, _window(row))


def _order(row: np.void, account: Account) -> Order:
    return Order(
        client_id=int(row["client_id"]),
        account=account,
        handle=int(row["handle"]),
        instrument=int(row["instrument"]),
        side=int(row["side"]),
        time_in_force=int(row["time_in_force"]),
        self_trade=int(row["self_trade"]),
        price=int(row["price"]),
        remaining=int(row["remaining"]),
        queue=int(row["queue"]),
        reduce_only=bool(row["reduce_only"]),
        held=int(row["held"]),
        peak=int(row["peak"]),
        dropped=bool(row["dropped"]),
        resting=bool(row["resting"]),
    )
