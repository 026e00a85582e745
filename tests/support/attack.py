"""Attacks on a venue's money: what one hand with several accounts may try, found at random and made small.

A plan says what is tried, relative to the venue as it is then (a limit that meets another's, as many lots as
collateral carries), so that a piece of a plan is a plan.
"""

import random
import time
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from hawse.keys.messages import NO_INSTRUMENT, REDUCE_ONLY, MessageKind
from hawse.state.ledger import ISOLATED, StrategyKind
from hawse.state.slot import Request, RequestKind
from hawse.wire import SelfTrade, Side, TimeInForce

from .desk import owner
from .money import ODD, USD, MoneyDesk, bitcoin, venue
from .oracle import PPM, Limit, limits
from .promises import PROMISES, Broken

#: The honest market maker's account. All others are the hand's; LATE has an owner who comes on the way.
MAKER, LATE = 4, 5
#: Subaccounts that the hand opens, and keys that it appoints, one of them an owner's.
SUBACCOUNTS = (0, 1, 2, ISOLATED + 1)
AGENTS = (b"\xa1" * 20, b"\xa2" * 20, owner(2))
#: In place of an account: OF * owner + n is his n-th of SUBACCOUNTS, if it is there.
OF = 100
#: Milliseconds that an agent's command may live where its plan wants it to live long.
LONG = 150_000
#: What each begins with, quanta; the maker has plenty.
BALANCES = (40 * USD, 60 * USD, 1000 * USD, 100_000 * USD)
RULES = {"insurance_ppm": 250_000, "mark_step_ppm": 60_000, "account_quota": 4, "reuse_batches": 1}
CONFIG = venue(bitcoin(), ODD, **RULES)
#: Client ids of the maker's quotes are above this.
QUOTES = 1000
#: Marks stay within these, by instrument, so that limits near them are in the band.
RANGE = {0: (69_000, 94_000), 1: (3_600, 4_400)}


class Command(NamedTuple):
    """What an account tries.

    Attributes:
        kind: of the message.
        account, client_id: whose, and which of its orders, counted from the newest; a new one gets the next
            id that is free. Of a TRANSFER, which subaccount; of an APPOINT or REVOKE, which agent.
        side, time_in_force, self_trade, instrument: of a new order.
        meet: None, or which order of another account the limit meets, counted from the newest.
        offset: of the limit, parts per million of the mark, or ticks if it meets another.
        size: ("lots", n), ("stake", ppm of equity that is its margin), ("carry", ppm of free collateral that
            it needs), ("close", ppm of the position),
            ("meet", lots beyond those of the order that it meets), ("free", quanta beyond what may be
            withdrawn), ("money", ppm of collateral).
        by: 0 the owner, or which agent signs it, from 1; above their number the same once more, for long.
    """

    kind: MessageKind
    account: int
    client_id: int = 1
    side: int = 0
    time_in_force: int = 0
    self_trade: int = 0
    instrument: int = 0
    meet: int | None = None
    offset: int = 0
    size: tuple[str, int] = ("carry", 900_000)
    by: int = 0


class Force(NamedTuple):
    """What an owner has the contract ask for: kind, account as of a command, size of a WITHDRAW.

    Of an APPOINT: which agent, and for how long from now on; 0 ends it.
    """

    kind: RequestKind
    account: int
    size: tuple[str, int] = ("free", 0)
    agent: int = 0
    life: int = 0


class Slot(NamedTuple):
    """Commands of a slot, moves of marks in parts per million by instrument, deposits by account.

    ``turns``: how often the commands are tried, one round behind the other; ``quotes``: the maker first takes
    back its quotes and makes new ones at the mark; ``again``: old messages that somebody sends once more,
    counted from the newest; ``wait``: milliseconds before the slot.
    """

    commands: tuple[Command, ...] = ()
    turns: int = 1
    quotes: bool = False
    marks: tuple[tuple[int, int], ...] = ()
    deposits: tuple[tuple[int, int], ...] = ()
    closes: bool = False
    restart: bool = False
    again: tuple[int, ...] = ()
    wait: int = 0
    forces: tuple[Force, ...] = ()


Plan = tuple[Slot, ...]


class Raid:
    """A plan that is carried out, and who put in what.

    Attributes:
        desk: with the machine as it is.
        maker: index of the honest account.
        put_by_hand, put_by_maker: deposits in quanta, those that were paid back too.
        header, exits: of the batch that the slot ended, else None.
        restarts: whether the machine is restored behind the slot.
        over: quanta that the hand has withdrawn, or might, beyond what it may.
        sent: every message so far, with who signed it.
        taken: those of the last slot that were not refused, likewise.
        slots: carried out.
        places: where the venue was, in coarse words.
    """

    def __init__(self, balances=BALANCES, config=CONFIG):
        self.desk = MoneyDesk(balances, config)
        self.maker, self.put_by_maker = MAKER, balances[MAKER - 1]
        self.put_by_hand = sum(balances) - self.put_by_maker
        self.header, self.exits, self.restarts = None, (), False
        self.quoted, self.newest = 0, {}
        self.sent, self.taken, self.memory = [], [], {}
        self.slots, self.places = 0, set()

    def run(self, plan, promises=PROMISES):
        """Carry out a plan and hold the promises behind each slot.

        Raises:
            Broken: one was not kept.
        """
        for slot in plan:
            step = self._step(slot)
            self.slots += 1
            self.over = self._takes(step)
            for promise in promises:
                promise(self, step)
            self._look(step)

    def _look(self, step):
        """Where the venue is, in coarse words."""
        places = self.places
        for index in step.end.keys() - {0, MAKER}:
            places.add((_coarse(step.start[index]), _coarse(step.end[index])))
        accounts = self.desk.machine.accounts
        places.add(("accounts", len(accounts), sum(a.subaccount > 0 for a in accounts)))
        places.add(("agents", sum(len(a.agents) for a in accounts)))
        places |= {("taken", int(row["kind"][0]), by is None) for row, by in self.taken}
        places.add(("takes", int(self.over // (2 * USD))))
        places.add(("below", sum(max(0, int(-s.equity)) for s in step.end.values()).bit_length()))
        for refusal in self.desk.refusals:
            places.add(("refused", refusal.reason, refusal.detail))

    def _takes(self, step):
        """Quanta that the hand has withdrawn, or might, beyond what it put in and what the maker lost."""
        machine = self.desk.machine
        lost = max(Fraction(), self.put_by_maker - step.end[MAKER].equity)
        might = sum(machine.withdrawable(a) for a in machine.accounts[1:] if a.index != MAKER)
        return machine.withdrawn + might - self.put_by_hand - lost

    def _step(self, slot):
        desk = self.desk
        deposits = [(owner(account), amount) for account, amount in slot.deposits]
        for account, amount in slot.deposits:
            if account == MAKER:
                self.put_by_maker += amount
            else:
                self.put_by_hand += amount
        desk.time += slot.wait
        closes = desk.machine.batch if slot.closes else None
        marks = self._marks(slot.marks)
        rows = [*self._rows(slot), *self._old(slot)]
        requests = self._requests(slot.forces)
        step = desk.step(rows, marks=marks, deposits=deposits, closes=closes, requests=requests)
        self._remember(rows)
        self._appointed(requests)
        self.header, self.restarts = None, slot.restart
        if slot.closes:
            if slot.restart:
                desk.restart()
            batch = desk.machine.seal_batch()
            self.header, self.exits = batch.header_fields(), batch.exits
        return step

    def _requests(self, forces):
        """Of the hand's accounts; one EXIT of an owner at most, so that what each took can be told."""
        desk, found, gone = self.desk, [], set()
        for force in forces:
            index = self._index(force.account)
            if index in (0, MAKER) or index >= len(desk.machine.accounts):
                continue
            account = desk.machine.accounts[index]
            if force.kind == RequestKind.EXIT and (account.owner in gone or gone.add(account.owner)):
                continue
            agent = AGENTS[force.agent % len(AGENTS)] if force.kind == RequestKind.APPOINT else bytes(20)
            until = desk.time + force.life if force.life and force.kind == RequestKind.APPOINT else 0
            amount = self._amount(account, force.size) if force.kind == RequestKind.WITHDRAW else 0
            number = desk.machine.request_index + 1 + len(found)
            life = account.owner, index, account.generation
            found.append(Request(number, force.kind, *life, max(amount, 0), agent, until, desk.time // 1000))
        return found

    def _appointed(self, requests):
        """What the owners forced upon the agents' list is known to who looks at signatures."""
        refused = {refusal.seq for refusal in self.desk.refusals}
        agents = self.memory.setdefault("agents", {})
        for request, seq in zip(requests, self.desk.request_seqs, strict=True):
            if request.kind == RequestKind.APPOINT and seq not in refused:
                mine = agents.setdefault((request.account, request.generation), {})
                mine[request.agent] = request.expiry or -1

    def _marks(self, moves):
        found = []
        for number, ppm in moves:
            mark = self.desk.machine.markets[number].mark
            low, high = RANGE[number]
            to = max(low, min(mark + int(mark * ppm / PPM), high))
            if to != mark:
                found.append((number, to))
        return found

    def _old(self, slot):
        """Messages that were sent before, signed as they were."""
        return [self.sent[-1 - at % len(self.sent)][0] for at in slot.again if self.sent]

    def _remember(self, rows):
        """Which messages the slot took: those with no refusal."""
        desk = self.desk
        refused = {refusal.seq for refusal in desk.refusals}
        self.taken = []
        for row, seq in zip(rows, desk.machine.command_seqs, strict=True):
            message = row, desk.signed_by.get((int(row["account"][0]), int(row["nonce"][0])))
            self.sent.append(message)
            if seq not in refused:
                self.taken.append(message)
        del self.sent[:-500]

    def _rows(self, slot):
        """Rows of what is tried; later commands of a slot see the limits of earlier ones."""
        open_orders = sorted(limits(self.desk.machine).items())
        seen = [limit for _, mine in open_orders for limit in mine]
        rows = self._quotes(seen) if slot.quotes else []
        for command in slot.commands * slot.turns:
            row = self._row(command, seen)
            if row is not None:
                rows.append(row)
        return rows

    def _quotes(self, seen):
        desk = self.desk
        rows = [desk.cancel(MAKER, s.client_id) for s in seen if s.account == MAKER and s.client_id > QUOTES]
        seen[:] = [s for s in seen if s.account != MAKER or s.client_id <= QUOTES]
        for number, market in desk.machine.markets.items():
            terms, mark = market.terms, market.mark
            lots = 2000 * USD * terms.denominator // (mark * terms.numerator)
            for side in Side:
                self.quoted += 1
                limit = Limit(MAKER, number, QUOTES + self.quoted, side, mark, lots)
                more = {"instrument": number, "mode": SelfTrade.CANCEL_OLDEST}
                more["time_in_force"] = TimeInForce.POST_ONLY if side else TimeInForce.GTC
                rows.append(desk.new(MAKER, limit.client_id, side, mark, lots, **more))
                seen.append(limit)
        return rows

    def _row(self, command, seen):
        command = command._replace(account=self._index(command.account))
        row = self._unsigned(command, seen) if command.account else None
        if row is not None and command.by:
            if command.by > len(AGENTS):
                row["expiry"][0] = self.desk.time + LONG
            row["nonce"][0] = max(int(row["nonce"][0]), self.desk.time)
            place = command.account, int(row["nonce"][0])
            self.desk.nonces[command.account] = place[1]
            self.desk.signed_by[place] = AGENTS[(command.by - 1) % len(AGENTS)]
        return row

    def _index(self, account):
        """Of the account that is meant; 0 if there is none."""
        accounts = len(self.desk.machine.accounts)
        if account >= OF:
            found = self.desk.machine.account_of(owner(account // OF), SUBACCOUNTS[account % OF])
            return found.index if found else 0
        if account > LATE and account >= accounts > LATE:
            return LATE + account % (accounts - LATE)
        return account

    def _of_the_owner(self, command):
        """Money that moves, and agents; the maker does neither."""
        desk, kind, index, accounts = self.desk, command.kind, command.account, self.desk.machine.accounts
        if index == MAKER or index >= len(accounts):
            return None
        if kind in (MessageKind.APPOINT, MessageKind.REVOKE):
            agent = AGENTS[command.client_id % len(AGENTS)]
            if kind == MessageKind.REVOKE:
                return desk.revoke(index, agent)
            return desk.appoint(index, agent, life=abs(command.offset), until=desk.time + 100_000)
        amount = self._amount(accounts[index], command.size)
        if amount <= 0:
            return None
        if kind == MessageKind.WITHDRAW:
            return desk.withdraw(index, amount)
        return desk.transfer(index, SUBACCOUNTS[command.client_id % len(SUBACCOUNTS)], amount)

    def _amount(self, account, size):
        what, amount = size
        if what == "money":
            return account.collateral * amount // PPM
        return amount + self.desk.machine.withdrawable(account)

    def _unsigned(self, command, seen):
        desk, kind, index = self.desk, command.kind, command.account
        if kind in _OF_THE_OWNER:
            return self._of_the_owner(command)
        if kind == MessageKind.REGISTER:
            return self._register(command, seen)
        if kind == MessageKind.UNREGISTER:
            return desk.row(kind, index, client_id=command.client_id)
        if kind == MessageKind.CANCEL_ALL:
            return desk.row(kind, index, instrument=NO_INSTRUMENT)
        mine = [s for s in seen if s.account == index and s.client_id <= QUOTES]
        side, number, client_id = command.side, command.instrument, command.client_id
        if kind == MessageKind.ORDER:
            self.newest[index] = client_id = self.newest.get(index, 0) + 1
        elif mine:
            _, number, client_id, side, _, _ = mine[-client_id % len(mine)]
        else:
            return None
        if kind == MessageKind.CANCEL:
            return desk.cancel(index, client_id)
        price, quantity = self._terms(command, side, number, seen)
        if kind == MessageKind.REDUCE:
            return desk.reduce(index, client_id, max(quantity, 1))
        if not 0 < quantity < 1 << 31:
            return None
        limit = Limit(index, number, client_id, side, price, quantity)
        if kind == MessageKind.REPLACE:
            row = desk.replace(index, client_id, price, quantity)
        else:
            more = {"time_in_force": command.time_in_force, "mode": command.self_trade, "instrument": number}
            row = desk.new(index, client_id, side, price, quantity, **more)
        if kind == MessageKind.REPLACE or command.time_in_force in (TimeInForce.GTC, TimeInForce.POST_ONLY):
            seen.append(limit)
        return row

    def _register(self, command, seen):
        """A rule that acts as soon as it may, at whatever price the offset of the command leaves it."""
        desk, number = self.desk, command.instrument
        if command.account == MAKER:
            return None
        kind = min(StrategyKind) + (command.self_trade + command.time_in_force) % len(StrategyKind)
        mark, (_, quantity) = (
            desk.machine.markets[number].mark,
            self._terms(command, command.side, number, seen),
        )
        side, low, high, at, limit = command.side, 0, 0, 0, -(1 << 31) if command.side else (1 << 31) - 1
        if kind == StrategyKind.HEDGE:
            side, low, high, limit = 0, -abs(command.offset), abs(command.offset) + 10, 0
        elif kind == StrategyKind.SLICE:
            high = 3 * quantity
        elif kind == StrategyKind.TRAIL:
            low = 1 + abs(command.offset) % 1000
        else:
            at = mark + mark * command.offset // PPM
        return desk.wide(
            kind=MessageKind.REGISTER,
            account=command.account,
            client_id=command.client_id,
            instrument=number,
            side=side,
            quantity=max(1, min(quantity, (1 << 32) - 1)),
            strategy=kind,
            trigger_price=at,
            limit_price=limit,
            offset_ppm=min(PPM, abs(command.offset)),
            every=250,
            low=low,
            high=max(high, 1) if kind == StrategyKind.SLICE else high,
            until=desk.time + 100_000,
        )

    def _terms(self, command, side, number, seen):
        machine, index = self.desk.machine, command.account
        market = machine.markets[number]
        terms, mark = market.terms, market.mark
        others = [s for s in seen if s.instrument == number and s.side != side and s.account != index]
        met = others[-1 - command.meet % len(others)] if others and command.meet is not None else None
        if met is None:
            price = mark + mark * command.offset // PPM if command.meet is None else mark
        else:
            price = met.price + command.offset
        if index == MAKER:
            price = min(price, mark) if side == Side.BUY else max(price, mark)
        what, number_of = command.size
        account = machine.accounts[index] if index < len(machine.accounts) else None
        if what == "meet" and met is not None:
            return price, met.quantity + number_of
        if what == "close" and account and number in account.positions:
            return price, abs(account.positions[number].size) * number_of // PPM
        if what == "lots":
            return price, number_of
        has = USD
        if account:
            has = machine.equity(account) if what == "stake" else machine.free_collateral(account)
        if index == MAKER:
            has = min(has, 200 * USD)
        worse = max(0, price - mark if side == Side.BUY else mark - price)
        rate = max(terms.maker_fee_ppm, terms.taker_fee_ppm)
        lot = max(abs(price), abs(mark), 1) * (terms.initial_margin_ppm + rate) + worse * PPM
        ppm = number_of if what in ("carry", "stake") else PPM // 2
        return price, max(0, has) * ppm * terms.denominator // (lot * terms.numerator)


def _coarse(standing):
    gone = sum(value < 0 for value in standing.unrealised)
    return (
        standing.equity < 0,
        standing.free < 0,
        standing.carried < 0,
        len(standing.unrealised),
        gone,
        standing.opens,
        standing.closing > 0,
        standing.margin * 2 > standing.equity,
    )


# What is tried

_KINDS = (MessageKind.ORDER,) * 8 + (MessageKind.REPLACE,) * 4
_KINDS += (MessageKind.REDUCE, MessageKind.CANCEL, MessageKind.CANCEL_ALL) + (MessageKind.WITHDRAW,) * 4
_KINDS += (MessageKind.TRANSFER,) * 4 + (MessageKind.APPOINT, MessageKind.REVOKE)
_KINDS += (MessageKind.REGISTER,) * 3 + (MessageKind.UNREGISTER,)
_MONEY = (MessageKind.WITHDRAW, MessageKind.TRANSFER)
_OF_THE_OWNER = (*_MONEY, MessageKind.APPOINT, MessageKind.REVOKE)
_WHO = (1, 1, 1, 1, 2, 2, 2, 2, 3, MAKER, MAKER, LATE, LATE, 6, 7, OF + 1, OF + 2, 2 * OF + 1)
_BY = (0,) * 6 + (1, 2, 3, 4)
_TIMES = (TimeInForce.GTC,) * 4 + (TimeInForce.IOC,) * 3 + (TimeInForce.FOK, TimeInForce.POST_ONLY)
_MODES = tuple(SelfTrade) * 4 + (REDUCE_ONLY,)
_INSTRUMENTS = (0, 0, 0, 1)
#: Parts per million of the mark.
_OFFSETS = (0, 0, 0, 0, 10, -10, 1_000, -1_000, 10_000, -10_000, 30_000, -30_000, 49_000, -49_000, 150_000)
_CARRY = (1_000_000, 990_000, 980_000, 950_000, 900_000, 500_000, 480_000, 250_000, 100_000)
_SIZES = (
    tuple((of, n) for n in _CARRY for of in ("carry", "stake"))
    + (("meet", 0), ("meet", -1), ("meet", 1)) * 4
    + (("close", PPM),) * 3
    + (("close", PPM // 2), ("lots", 1), ("lots", 1_000), ("lots", 0))
)
_AMOUNTS = (
    ("free", 0),
    ("free", 0),
    ("free", 1),
    ("free", -1),
    ("money", 500_000),
    ("money", 100_000),
    ("money", PPM),
)
_MOVES = (0,) * 8 + (
    100,
    -100,
    1_000,
    -1_000,
    10_000,
    -10_000,
    20_000,
    -20_000,
    40_000,
    -40_000,
    60_000,
    -60_000,
)
_DEPOSITS = (USD // 2, USD, 40 * USD, 1)


def command(pick):
    """A command; ``pick`` takes one of a sequence."""
    kind, account, by = pick(_KINDS), pick(_WHO), pick(_BY)
    if kind in _MONEY:
        return Command(kind, account, pick((0, 1, 2, 3)), size=pick(_AMOUNTS), by=by)
    client_id = pick((1, 1, 2, 3))
    if kind in _OF_THE_OWNER:
        return Command(kind, account, client_id, offset=pick((0, 1, 200_000)), by=by)
    return trading(pick, kind, account, client_id)._replace(by=by)


def trading(pick, kind, account, client_id):
    """A command of a kind that agents may give."""
    if kind in (MessageKind.CANCEL, MessageKind.CANCEL_ALL, MessageKind.UNREGISTER):
        return Command(kind, account, client_id)
    meet = pick((None, 0, 0, 0, 1, 2))
    offset = pick(_OFFSETS) if meet is None else pick((0, 0, 0, 1, -1))
    size = pick(_SIZES)
    if kind not in (MessageKind.ORDER, MessageKind.REGISTER):
        return Command(kind, account, client_id, meet=meet, offset=offset, size=size)
    side, time_in_force = pick(tuple(Side)), pick(_TIMES)
    self_trade, instrument = pick(_MODES), pick(_INSTRUMENTS)
    return Command(kind, account, client_id, side, time_in_force, self_trade, instrument, meet, offset, size)


def trade(pick):
    """Two accounts trade with each other, at a price of their own."""
    one, other = pick(
        ((1, 2), (2, 1), (1, 2), (2, 1), (1, 3), (3, 2), (1, LATE), (LATE, 2), (6, 2), (1, 6), (2, MAKER))
    )
    side, instrument = pick(tuple(Side)), pick(_INSTRUMENTS)
    offset, size = pick(_OFFSETS), pick(_SIZES)
    rests = Command(MessageKind.ORDER, one, 1, side, 0, 0, instrument, None, offset, size)
    takes = Command(MessageKind.ORDER, other, 1, Side.SELL - side, pick(_TIMES), 0, instrument, 0, 0)
    return rests, takes._replace(size=pick((("meet", 0), ("meet", 0), ("close", PPM), pick(_SIZES))))


def tries(pick):
    """One thing that is tried: a command, or two."""
    ways = trade, trade, trade, trade, lone, lone, lone, lone, lone, lone, hire, rehire, isolate, relay
    return pick(ways)(pick)


def lone(pick):
    """A command by itself."""
    return (command(pick),)


def hire(pick):
    """An agent comes, does something, and goes perhaps."""
    who, agent, life = pick(_WHO), pick((0, 1)), pick((0, 1, 200_000))
    appoint = Command(MessageKind.APPOINT, who, agent, offset=life)
    act = trading(pick, MessageKind.ORDER, who, 1)._replace(by=1 + agent)
    return pick(((appoint, act), (appoint, act, act._replace(by=0), Command(MessageKind.REVOKE, who, agent))))


def rehire(pick):
    """An agent acts, goes, and comes again; its place may have been given away in between."""
    who, first, again = pick((1, 2, OF + 1)), pick((0, 1, 200_000)), pick((0, 1, 200_000))
    appoint = Command(MessageKind.APPOINT, who, 0, offset=first)
    act = pick((Command(MessageKind.CANCEL_ALL, who), trading(pick, MessageKind.ORDER, who, 1)))
    act = act._replace(by=pick((1, 1 + len(AGENTS))))
    goes, other = Command(MessageKind.REVOKE, who, 0), Command(MessageKind.APPOINT, who, 1)
    back = appoint._replace(offset=again)
    other = other, Command(MessageKind.REVOKE, who, 1)
    ways = (
        (appoint, act),
        (appoint, act, goes, *other, back),
        (appoint, act, back, goes),
        (goes, *other, back),
    )
    return pick(ways)


def relay(pick):
    """An account does something, gets money from another of its owner, and does more at once."""
    one, n = pick((1, 2)), pick((1, 2))
    other = one * OF + n
    before, behind = (trading(pick, pick(_KINDS[:12]), other, 1) for _ in range(2))
    more = Command(
        MessageKind.TRANSFER, one, n, size=pick((("money", 500_000), ("money", 250_000), ("free", 0)))
    )
    out = pick((behind, Command(MessageKind.WITHDRAW, other, size=("money", PPM))))
    back = Command(MessageKind.TRANSFER, other, 0, size=pick(_AMOUNTS))
    return pick(((before, more, behind), (before, more, out), (before, back, behind), (more, back)))


def isolate(pick):
    """All that an account has goes to another one of its owner, and maybe from there to him."""
    who, other = pick((1, 2, 3, LATE, 6)), pick((LATE, 6, 7))
    size = pick((("free", 0), ("free", 0), ("money", PPM), ("money", 500_000)))
    away = Command(MessageKind.TRANSFER, who, pick((0, 1, 2, 3)), size=size)
    out = Command(MessageKind.WITHDRAW, other, size=("free", 0))
    return pick(((away,), (away, out), (away, trading(pick, MessageKind.ORDER, other, 1))))


def slot(pick):
    """A slot of up to eight things, or of fewer that are tried again and again."""
    turns = pick((1, 1, 1, 2, 4))
    things = [tries(pick) for _ in range(pick((0, 0, 1, 1, 2, 2, 3, 4, 5, 7) if turns == 1 else (1, 2, 3)))]
    return Slot(
        sum(things, ()),
        turns,
        pick((False, False, True)),
        tuple((number, move) for number in RANGE if (move := pick(_MOVES))),
        tuple((pick((1, 2, 3, LATE)), pick(_DEPOSITS)) for _ in range(pick((0,) * 8 + (1,)))),
        pick((False,) * 3 + (True,)),
        pick((False,) * 7 + (True,)),
        tuple(pick(range(40)) for _ in range(pick((0, 0, 0, 1, 4)))),
        pick((0,) * 8 + (1_000, 70_000, 300_000)),
        tuple(force(pick) for _ in range(pick((0,) * 9 + (1, 1, 2)))),
    )


def force(pick):
    """A request of the contract's queue."""
    kind, life = pick((*RequestKind, RequestKind.EXIT)), pick((0, 1, 1_000, 100_000))
    return Force(kind, pick(_WHO), pick(_AMOUNTS), pick((0, 1, 2)), life)


def plan(pick, slots=12):
    """A plan of at most so many slots."""
    return tuple(slot(pick) for _ in range(slots))


# The search


def breach(plan, promises=PROMISES, raid=None):
    """The promise that a plan breaks, None if it keeps all."""
    try:
        (raid or Raid()).run(plan, promises)
    except Broken as broken:
        return broken
    return None


def _changed(rng, plan, other, slots):
    """A plan that is like ``plan``, or begins like it and ends like another."""
    plan, pick = list(plan), rng.choice
    for _ in range(pick((1, 1, 2, 4))):
        at = rng.randrange(len(plan) + 1)
        match pick(("end", "end", "put", "drop", "twice", "join", "edit", "edit", "edit")):
            case "end":
                plan += [slot(pick)]
            case "put":
                plan.insert(at, slot(pick))
            case "drop":
                del plan[at : at + 1]
            case "twice":
                plan[at:at] = plan[at : at + 1]
            case "join":
                plan[at:] = other[rng.randrange(len(other)) :]
            case "edit" if at < len(plan):
                plan[at] = _edited(rng, plan[at])
    return tuple(plan[-2 * slots :]) or (slot(pick),)


def _edited(rng, old):
    pick, commands = rng.choice, list(old.commands)
    at = rng.randrange(len(commands) + 1)
    match pick(("put", "put", "set", "drop", "mix", "rest", "turns")):
        case "put":
            commands[at:at] = tries(pick)
        case "set":
            commands[at : at + 1] = tries(pick)
        case "drop":
            del commands[at : at + 1]
        case "mix":
            rng.shuffle(commands)
        case "rest":
            return slot(pick)._replace(commands=old.commands)
        case "turns":
            return old._replace(turns=pick((1, 2, 4, 8)))
    return old._replace(commands=tuple(commands[:12]))


@dataclass
class Found:
    """A plan that breaks a promise, made small; and what it took: slots and seconds before it was small."""

    plan: Plan
    broken: Broken
    seed: int
    slots: int
    seconds: float


def search(seed, seconds, promises=PROMISES, slots=12):
    """Try plans for so long: the first that breaks a promise, made small, or how many slots held.

    A plan that brought the venue where none was before is kept, and others are made from it.
    """
    rng, began, tried = random.Random(seed), time.monotonic(), 0
    been, kept = set(), []
    while time.monotonic() - began < seconds:
        if kept and rng.random() < 0.8:
            tried_plan = _changed(rng, rng.choice(kept[-200:]), rng.choice(kept), slots)
        else:
            tried_plan = plan(rng.choice, slots)
        raid = Raid()
        broken = breach(tried_plan, promises, raid)
        tried += raid.slots
        if broken:
            took = time.monotonic() - began
            small = shrink(tried_plan, broken.promise, promises)
            return Found(small, breach(small, promises), seed, tried, took)
        if raid.places - been:
            been |= raid.places
            kept.append(tried_plan)
    return tried


def shrink(plan, promise, promises=PROMISES, seconds=60):
    """A smaller plan that breaks the same promise: no slot, command or move in it can be left out.

    Unless that takes too long.
    """
    promises = tuple(p for p in promises if p.__name__ == promise)
    end = time.monotonic() + seconds
    smaller = True
    while smaller:
        smaller = False
        for things in (_slots, _things):
            at = 0
            while at < len(candidates := things(plan)) and time.monotonic() < end:
                if breach(candidates[at], promises):
                    plan, smaller = candidates[at], True
                else:
                    at += 1
    return plan


def _slots(plan):
    """Plans with a slot less, without the last ones first."""
    found = [plan[:at] for at in (len(plan) // 2, len(plan) * 3 // 4)]
    return found + [plan[:at] + plan[at + 1 :] for at in reversed(range(len(plan)))]


def _things(plan):
    """Plans with one thing less within a slot."""
    return [(*plan[:at], less, *plan[at + 1 :]) for at, slot in enumerate(plan) for less in _less(slot)]


def _less(slot):
    for name in ("commands", "marks", "deposits", "again", "forces"):
        things = getattr(slot, name)
        for at in range(len(things)):
            yield slot._replace(**{name: things[:at] + things[at + 1 :]})
    least_of = ("turns", 1), ("quotes", False), ("closes", False), ("restart", False), ("wait", 0)
    for name, least in least_of:
        if getattr(slot, name) != least:
            yield slot._replace(**{name: least})


def source(plan):
    """A plan as a test may hold it: what differs from the least slot and command."""
    return "(\n" + "".join(f"    {_source(slot)},\n" for slot in plan) + ")"


def _source(value):
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        least = type(value)._field_defaults
        shown = [
            f"{name}={_source(part)}"
            for name, part in zip(value._fields, value, strict=True)
            if name not in least or part != least[name]
        ]
        return f"{type(value).__name__}({', '.join(shown)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_source, value))}{',' * (len(value) == 1)})"
    if isinstance(value, MessageKind | RequestKind):
        return f"{type(value).__name__}.{value.name}"
    return repr(int(value)) if isinstance(value, int) and not isinstance(value, bool) else repr(value)
