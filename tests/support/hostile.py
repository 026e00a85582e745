"""Flow that means harm, at both forms of the state: every kind of message, well formed and not, in bulk."""

from dataclasses import replace

import numpy as np
from hawse.engine import Band, Engine, SoftBackend
from hawse.instruments import Instrument, Underlying
from hawse.keys.eip712 import struct_hashes
from hawse.keys.messages import BODIES, MESSAGE, NO_INSTRUMENT, WIDE, MessageKind, split
from hawse.risk.margin import MoneyOverflow
from hawse.state.config import VenueConfig
from hawse.state.feeds import sort_out
from hawse.state.inputs import StateError
from hawse.state.ledger import ISOLATED
from hawse.state.outcomes import Signers
from hawse.state.rules import FLAGS, NO_LIMIT, RuleSet
from hawse.state.slot import Deposit, Observation, Operation, OperationKind, Request, RequestKind, SlotInput
from hawse.wire import Geometry

from .desk import OPERATOR, mark_of, publishers_of
from .twin import Twin


def instrument(number, first, **terms):
    base = {"numerator": 1, "denominator": 1, "initial_margin_ppm": 50_000, "count": 256}
    base |= {"maker_fee_ppm": 200, "taker_fee_ppm": 500, "base": 900, "first_mark": 1000}
    return Instrument(number=number, name=f"i{number}", first=first, **base | terms)


def funding(interval, notional=1):
    """Terms under which much is paid, and often."""
    return {"funding_interval": interval, "funding_cap_ppm": 10**6, "impact_notional": notional}


def venue(*instruments, orders=128, tag_bits=4, **limits):
    rules = {"minimum_deposit": 1000, "order_quota": 12, "position_quota": 2, "mark_step_ppm": 60_000}
    rules |= {"account_quota": 4, "reuse_batches": 1}
    geometry = Geometry(8, 2048, orders, tag_bits)
    rules |= {"insurance_ppm": 250_000, "chain_id": 1, "contract": bytes(range(20)), "operator": OPERATOR}
    return VenueConfig(instruments=instruments, geometry=geometry, **rules | limits)


PAYING = funding(9)
PUBLISHERS = tuple(bytes([0xB0 + n]) * 20 for n in range(6))
#: Everything is scarce; money is large and units are small, so that amounts leave int64; marks are
#: observed; nothing is scarce.
VENUES = {
    "scarce": venue(
        instrument(0, 0, denominator=7, minimum_quantity=3, minimum_notional=400, **funding(40, 30_000)),
        instrument(2, 256, numerator=3, denominator=11, maker_fee_ppm=0, base=-128, first_mark=-5, **PAYING),
        instrument(5, 512, numerator=13, denominator=10, initial_margin_ppm=1_000_000, taker_fee_ppm=10_000),
        orders=64,
        tag_bits=3,
        account_quota=3,
        reuse_batches=2,
        reserved_tags=1,
        reserved_handles=8,
    ),
    "large": venue(
        instrument(1, 0, numerator=2**32 - 1, initial_margin_ppm=1, **funding(5, 2**62)),
        instrument(3, 256, numerator=2**32 - 1, initial_margin_ppm=999_999, minimum_notional=2**62),
        instrument(
            4,
            512,
            numerator=2**31,
            denominator=3,
            base=2**31 - 256,
            first_mark=2**31 - 100,
            taker_fee_ppm=0,
            **PAYING,
        ),
        position_quota=3,
        reserved_handles=100,
    ),
    "observed": venue(
        instrument(0, 0, underlying=3, mark_bound_ppm=12_000, denominator=3, **funding(50, 2_000)),
        instrument(1, 256, underlying=3, initial_margin_ppm=400_000, mark_bound_ppm=99_999),
        instrument(2, 512, underlying=4, **funding(1_000)),
        instrument(4, 768, underlying=9, mark_bound_ppm=5_000, impact_notional=40_000),
        underlyings=(
            Underlying(number=3, name="three", publishers=PUBLISHERS[:5], quorum=3, staleness=900, ahead=40),
            Underlying(number=4, name="four"),
            Underlying(number=9, name="nine", publishers=PUBLISHERS[4:5], quorum=1, staleness=1500, ahead=0),
        ),
    ),
    "plenty": venue(instrument(0, 0), instrument(1, 256, denominator=3), orders=1024, tag_bits=8),
}
_KINDS = np.array(
    [1] * 220
    + [4] * 90
    + [5] * 30
    + [2] * 30
    + [3, *[7] * 4, *[8] * 3, 9, 9, 10] * 5
    + [13, *range(16), 200],
    np.uint8,
)
_MODES = np.array([*[0, 1, 2] * 20, *[4, 5, 6] * 6, 3, 200], np.uint8)
#: Whom accounts appoint.
_AGENTS = [bytes([0xA0 + n]) * 20 for n in range(7)]
_LIVES = np.array([0, 0, 0, 1, 60_000, 90_000, 2**32 - 1, 2**32, 2**64 - 1], np.uint64)
_UNTIL = [0, 1, 30, 2000, 10**5, 10**6, 10**6, 10**6, -1, 2**48, -(10**12)]
_ODD = ("side", "time_in_force", "mode", "instrument", "zero_6", "zero_20", "client_id", "amount", "price")


class Hostile:
    """A twin machine under random flow.

    Args:
        name: of :data:`VENUES`.
        seed: of the flow.
        accounts: how many the hands have.
    """

    def __init__(self, name, seed, accounts=12, often=False):
        self.config, self.rng = VENUES[name], np.random.default_rng(seed)
        self.name, self.people = name, accounts
        self.machine = Twin(self.config)
        self.machine.often = often
        self.time, self.nonces = 10**12, np.full(1 << 12, 10**12, np.int64)
        self.fatal = 0
        self._load()

    def _load(self):
        """An engine that holds what the machine does."""
        self.engine = Engine(SoftBackend(self.config.geometry), recentring=False)
        self.engine.reset(1)
        bands = [Band(i.number, i.first, i.count, i.base) for i in self.config.instruments]
        self.engine.load(self.machine.resting_orders(), bands)

    def owner(self, account):
        return account.to_bytes(2, "big") * 10

    def rows(self, count):
        """Messages, most of them well formed; some are pairs."""
        rng, n = self.rng, count
        rows = np.zeros(n, MESSAGE)
        rows["kind"] = rng.choice(_KINDS, n)
        there = rng.integers(1, max(2, len(self.machine.accounts)), n)
        rows["account"] = who = np.where(rng.random(n) < 0.01, rng.integers(0, self.people + 3, n), there)
        generations = [a.generation for a in self.machine.accounts]
        known = np.zeros(max(self.people + 3, len(generations)), np.uint64)
        known[: len(generations)] = generations
        rows["generation"] = known[who] + (rng.random(n) < 0.005)
        self._nonces(rows, who)
        rows["expiry"] = self.time + rng.choice(
            [0, 1, 1000, 70_000, -1, -self.time], n, p=[0.3, 0.3, 0.28, 0.1, 0.01, 0.01]
        )
        self._terms(rows)
        self._spoil(rows)
        self._bodies(rows)
        return self._whole(rows)

    def _bodies(self, rows):
        """Second rows of the wide ones; some are not what they should be."""
        at = 0
        while at < len(rows) - 1:
            kind = int(rows["kind"][at])
            at += 1
            if kind not in WIDE:
                continue
            if kind != MessageKind.MULTI_LEG:
                rows[at] = np.zeros((), MESSAGE)
            if kind in (MessageKind.APPOINT, MessageKind.REVOKE):
                self._body(rows, at, kind)
            at += 1

    def _body(self, rows, at, kind):
        rng, body = self.rng, np.zeros(1, BODIES[MessageKind(kind)])
        body["agent"] = np.frombuffer(self._agent(int(rows["account"][at - 1])), np.uint8)
        if kind == MessageKind.APPOINT:
            body["agent_expiry"], body["max_life"] = self._until(), rng.choice(_LIVES)
        raw = body.view(np.uint8)
        if rng.random() < 0.02:
            raw[rng.integers(0, len(raw))] ^= 1
        rows[at : at + 1] = raw.view(MESSAGE)

    def _agent(self, account):
        """Whom to appoint or revoke: at times nobody, or the owner himself."""
        chance, known = self.rng.random(), self.machine.accounts
        if chance < 0.02:
            return bytes(20)
        if chance < 0.04 and account < len(known):
            return known[account].owner
        return _AGENTS[self.rng.integers(len(_AGENTS))]

    def _until(self):
        return self.time + int(self.rng.choice(_UNTIL))

    def authorisations(self):
        """Rows of appointments and revocations alone."""
        if self.rng.random() < 0.8:
            return np.zeros(0, MESSAGE)
        count = int(self.rng.integers(1, 4))
        rows = self.rows(count)
        rows = np.repeat(rows[split(rows).starts], 2)
        for at in range(0, len(rows), 2):
            rows["kind"][at] = kind = self.rng.choice([9, 9, 9, 10])
            for name in ("client_id", "instrument", "side", "time_in_force", "mode", "price", "quantity"):
                rows[name][at] = 0
            rows["amount"][at] = 0
            rows["nonce"][at] += np.uint64(1)
            self._body(rows, at + 1, kind)
        return rows

    def requests(self):
        """Of the contract's queue."""
        rng, accounts, first = self.rng, self.machine.accounts, self.machine.request_index + 1
        out = []
        for n in range(int(rng.integers(1, 4)) if rng.random() < 0.2 else 0):
            index = int(rng.integers(0, len(accounts) + 1 if rng.random() < 0.1 else len(accounts)))
            whose = accounts[min(index, len(accounts) - 1)]
            owner = whose.owner if rng.random() < 0.9 else self.owner(1)
            generation = whose.generation + int(rng.random() < 0.05)
            agent, until = self._agent(index), 0 if rng.random() < 0.3 else self._until()
            kind, seconds = RequestKind(int(rng.integers(1, 5))), self.time // 1000
            amount = 0
            if kind is RequestKind.WITHDRAW:
                amounts = [0, 1, 50, max(0, whose.collateral), 2**63 - 1, 2**63, 2**64 - 1]
                amount = amounts[rng.integers(len(amounts))]
            if kind is not RequestKind.APPOINT:
                agent, until = bytes(20), 0
            out.append(Request(first + n, kind, owner, index, generation, amount, agent, until, seconds))
        return tuple(out)

    def operations(self):
        """Rules and flags."""
        rng, out = self.rng, []
        if rng.random() < 0.08:
            before = self.machine.rules
            # Who is not known of is barred seldom, or nobody would trade.
            lowest = int(rng.random() < 0.7)
            barred = {int(b) for b in rng.choice([0, 1, 2, 300, 65535], 2) if b >= lowest}
            barred = sorted(barred) if rng.random() < 0.4 else ()
            lots = int(rng.choice(np.array([0, 5, 300, 3000, NO_LIMIT], np.uint64)))
            number = 1 + (before.number if before else 0)
            rules = RuleSet(number, bool(rng.random() < 0.2), lots, tuple(barred))
            out.append(Operation(OperationKind.RULES, rules.encode(), bytes(64)))
        owners = sorted({account.owner for account in self.machine.accounts[1:]})
        if owners and rng.random() < 0.3:
            for at in rng.choice(len(owners), min(3, len(owners)), replace=False):
                flags = int(rng.choice([0, 4, 4, 6, 8, 12, 15])) | int(rng.choice([0, 1, 2, 300])) << 16
                out.append(Operation(OperationKind.FLAGS, FLAGS.pack(owners[at], flags), bytes(64)))
        return tuple(out)

    @staticmethod
    def _whole(rows):
        while True:
            try:
                split(rows)
                return rows
            except ValueError:
                rows = rows[:-1]

    def _nonces(self, rows, who):
        rng, n = self.rng, len(rows)
        steps = rng.integers(1, 4, n)
        for account in np.unique(who):
            mine = who == account
            self.nonces[account] = max(self.nonces[account], self.time - 50)
            rows["nonce"][mine] = self.nonces[account] + np.cumsum(steps[mine])
            self.nonces[account] += steps[mine].sum()
        back = rng.random(n)
        rows["nonce"] -= np.where(back < 0.06, rng.integers(1, 40, n), 0).astype(np.uint64)
        rows["nonce"] -= np.where(back < 0.01, rng.integers(1, 400, n), 0).astype(np.uint64)
        rows["nonce"][back > 0.998] += np.uint64(86_400_000)

    def _terms(self, rows):
        rng, n = self.rng, len(rows)
        kinds = rows["kind"]
        order = kinds == MessageKind.ORDER
        named = np.isin(kinds, [1, 2, 4, 5, 6, 11, 12])
        isolated = [ISOLATED + i.number for i in self.config.instruments] + [ISOLATED + 7, 0xFFFF]
        to = rng.choice([0, 0, 1, 1, 2, 3, 4, 5, *isolated], n)
        rows["client_id"] = np.where(named, rng.integers(1, 20, n), 0)
        numbers = np.array([i.number for i in self.config.instruments] + [7])
        chances = np.array([1.0] * (len(numbers) - 1) + [0.02])
        which = rng.choice(len(numbers), n, p=chances / chances.sum())
        cancel_all = np.where(rng.random(n) < 0.4, NO_INSTRUMENT, numbers[which])
        rows["instrument"] = np.select([order, kinds == 3, kinds == 7], [numbers[which], cancel_all, to], 0)
        marks = np.array([self.machine.markets[i.number].mark for i in self.config.instruments] + [0])
        step = rng.choice([0, 0, 1, -1, 2, -2, 5, -5, 40, -40, 300], n)
        price = np.clip(marks[which] + step, -(2**31), 2**31 - 1)
        priced = order | (kinds == MessageKind.REPLACE)
        rows["price"] = np.where(priced, price, 0)
        sizes = [1, 2, 3, 5, 10, 60, 400, 3000, 2**20, 2**31, 2**32 - 1, 0]
        chance = [0.1, 0.1, 0.1, 0.15, 0.2, 0.14, 0.08, 0.05, 0.04, 0.02, 0.01, 0.01]
        sized = priced | (kinds == MessageKind.REDUCE)
        rows["quantity"] = np.where(sized, rng.choice(sizes, n, p=chance), 0)
        rows["side"] = order & (rng.random(n) < 0.5)
        rows["time_in_force"] = np.where(order, rng.choice([0, 0, 0, 1, 2, 3], n), 0)
        rows["mode"] = np.where(order, rng.choice(_MODES, n), 0)
        money = rng.choice(np.array([0, 1, 50, 5000, 10**6, 2**63 - 1, 2**64 - 1], np.uint64), n)
        floor = np.where(rng.random(n) < 0.1, rows["nonce"] - np.uint64(20), np.uint64(0))
        held = np.array([max(0, a.collateral) for a in self.machine.accounts] + [0], np.uint64)
        all_of_it = held[np.minimum(rows["account"], len(held) - 1)]
        money = np.where(rng.random(n) < 0.3, all_of_it, money)
        moves = np.isin(kinds, [7, 8])
        rows["amount"] = np.select([moves, kinds == 3, kinds == 13], [money, floor, money // 7], 0)
        rows["signature"][:, :4] = rng.integers(0, 256, (n, 4))

    def _spoil(self, rows):
        for row in np.flatnonzero(self.rng.random(len(rows)) < 0.01):
            name = self.rng.choice(_ODD)
            rows[name][row] = self.rng.integers(0, 127)

    def signers(self, slot):
        """Whom the account belongs to, at times an agent, another, or nobody."""
        known, rows = self.machine.accounts, slot.messages
        accounts = rows["account"][split(rows).starts].tolist()
        owners = [known[a].owner if a < len(known) else self.owner(a) for a in accounts]
        for at in np.flatnonzero(self.rng.random(len(owners)) < 0.2):
            mine = [*known[accounts[at]].agents] if accounts[at] < len(known) else []
            owners[at] = mine[self.rng.integers(len(mine))] if mine else owners[at]
        for at in np.flatnonzero(self.rng.random(len(owners)) < 0.01):
            owners[at] = _AGENTS[self.rng.integers(len(_AGENTS))]
        for at in np.flatnonzero(self.rng.random(len(owners)) < 0.01):
            owners[at] = self.rng.choice([None, self.owner(1), self.owner(77)])
        people = publishers_of(self.config, slot)
        return Signers([OPERATOR] * len(slot.operations), owners, struct_hashes(rows), people)

    def deposits(self):
        rng, first = self.rng, self.machine.deposit_index + 1
        amounts = (
            [1, 999, 1000, 10**5, 10**7] if self.name != "large" else [2**62, 2**63 - 1, 2**64 - 1, 10**17]
        )
        count = self.people - 2 if self.machine.next_slot == 0 else int(rng.random() < 0.1)
        if not self.machine.next_slot:
            return tuple(Deposit(first + n, self.owner(1 + n), amounts[-1]) for n in range(count))
        who = self.owner(int(rng.integers(1, self.people + 6)))
        return tuple(Deposit(first + n, who, amounts[rng.integers(len(amounts))]) for n in range(count))

    def marks(self):
        rng, found = self.rng, []
        if rng.random() < 0.3:
            self.time += 250
            for i in self.config.instruments:
                market = self.machine.markets[i.number]
                mark = market.mark
                if market.feed:
                    continue
                most = max(1, abs(mark) * self.config.mark_step_ppm // 10**6)
                to = mark + int(rng.integers(-most, most + 1))
                low, high = i.base + 20, i.base + i.count - 20
                if rng.random() < 0.6:
                    found.append(
                        mark_of(i.number, max(low, min(to, high)) if mark in range(low, high) else to)
                    )
        return tuple(m for m in found if -(2**31) <= int.from_bytes(m.body[2:], "big", signed=True) < 2**31)

    def observations(self):
        """A price that most agree upon, and what some make of it, each with who signed it."""
        rng, out = self.rng, []
        for number, feed in self.machine.feeds.items():
            if rng.random() < 0.5:
                continue
            price = min(max(int(rng.integers(-6, 7)) + (feed.index or 1000), 920), 1130)
            for publisher, who in enumerate(feed.terms.publishers):
                if rng.random() < 0.3:
                    continue
                last = feed.observed[publisher]
                step = [0, 1, 2, 2**63 - 1, -1][rng.choice(5, p=[0.02, 0.9, 0.06, 0.01, 0.01])]
                said = max(0, last.number + step if last else step)
                late = [0, 5, 300, 899, 900, 901, -40, -41, -(2**48)][rng.integers(9)]
                far = [price, price + 1, price - 1, 1, 0, 2 * price, 2**30, 2**30 + 1, -5]
                value = far[rng.choice(9, p=[0.5, 0.2, 0.2, 0.02, 0.01, 0.04, 0.01, 0.01, 0.01])]
                signer = who if rng.random() < 0.98 else [None, OPERATOR][rng.integers(2)]
                place = publisher + 9 * int(rng.random() < 0.01), number + int(rng.random() < 0.01)
                out.append((Observation(*place, value, self.time - late, said, rng.bytes(64)), signer))
        return out

    def _try_wrong(self, slot, said):
        """What is left out of a slot may not be put into it."""
        one, signer = said
        slot = replace(slot, observations=(one,), omissions=())
        signers = replace(self.signers(slot), observations=[signer])
        try:
            self.machine.open_slot(slot, signers)
        except StateError:
            return
        raise AssertionError(f"{one} is taken")

    def slot(self, messages):
        """One whole slot; a fatal overflow, in which both must agree, ends this machine."""
        machine, rng = self.machine, self.rng
        self.time += int(rng.integers(0, 3)) + 61_000 * int(rng.random() < 0.02)
        marks, closes = self.marks(), machine.batch if rng.random() < 0.06 else None
        said = {(one.publisher, one.feed): (one, who) for one, who in self.observations()}
        taken, left_out, _ = sort_out(machine.feeds, said.values(), self.time)
        slot = SlotInput(
            machine.next_slot,
            self.time,
            closes=closes,
            observations=tuple(taken),
            omissions=tuple(left_out),
            operations=(*self.operations(), *marks),
            deposits=self.deposits(),
            requests=self.requests(),
            authorisations=self.authorisations(),
            commands=self.rows(messages),
        )
        for one in left_out[:1]:
            self._try_wrong(slot, said[one.publisher, one.feed])
        try:
            admission = machine.open_slot(slot, self.signers(slot))
            burst = self.engine.run(admission.orders)
            assert not burst.refused
            machine.clear_slot(burst.events)
            if closes is not None:
                if rng.random() < 0.5:
                    self.restart()
                self.machine.seal_batch()
        except MoneyOverflow:
            self.fatal += 1
            return False
        if rng.random() < 0.02:
            self.restart()
        return True

    def restart(self):
        """Both from a snapshot; the engine with the orders of that."""
        often = self.machine.often
        self.machine = type(self.machine).restore(self.config, self.machine.snapshot())
        self.machine.often = often
        self._load()
