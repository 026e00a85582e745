"""What the machine does with accounts that do not carry their positions, as ``docs/risk.md`` has it.

The functions of :mod:`hawse.risk.liquidation` decide how much, at which price and who bears it; here they
meet the ledger. Amounts are exact integers: who is healthy does not depend on which amount leaves int64
first.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from hawse.instruments import PPM, Instrument, Kind, Status
from hawse.risk import liquidation as risk
from hawse.risk.fixed import LEAST, MOST
from hawse.risk.margin import money
from hawse.risk.prices import MOST_LOTS, clamp
from hawse.risk.requirements import Terms
from hawse.wire import Reason

from .admission import Admitter
from .config import VenueConfig
from .ledger import INSURANCE, Account, Ledger, Market
from .slot import Event
from .sweep import newest

#: Transfers of a position, to insurance or by auto-deleveraging, that a slot has at most.
MOST_MOVES = 1024
#: Instruments that the insurance account may hold: what an account's leaf has room for.
MOST_HELD = 32
_NO_INSTRUMENT = 0xFFFF
_PRICES = -(2**31), 2**31 - 1
_LOTS = 2**32 - 1


class Health(NamedTuple):
    """What an account has at mark, with unpaid funding, each position rounded down; and what they need."""

    equity: int
    maintenance: int

    @property
    def good(self) -> bool:
        """Whether maintenance is there."""
        return self.equity >= self.maintenance


def has_valid_mark(market: Market) -> bool:
    """Whether an instrument's mark may liquidate anybody: a quorum stands behind it."""
    return market.valid


def unrealised(market: Market, size: int, entry: int) -> int:
    """Profit of a position at its mark, rounded down."""
    return (size * market.mark - entry) * market.terms.numerator // market.terms.denominator


def initial(market: Market, size: int) -> int:
    """Initial margin of a position, rounded up: its weight."""
    value = abs(market.mark * size) * market.terms.numerator * market.terms.initial_margin_ppm
    return -(-value // (market.terms.denominator * PPM))


def maintenance(market: Market, size: int) -> int:
    """The published part of a position's initial margin, rounded up."""
    return -(-initial(market, size) * market.terms.maintenance_ppm // PPM)


def health(ledger: Ledger, account: Account) -> Health:
    """Of an account; of the insurance account, nobody asks for maintenance."""
    equity, needs = account.collateral, 0
    for number, position in account.positions.items():
        market = ledger.markets[number]
        equity += unrealised(market, position.size, position.entry) - market.owed(position)
        needs += maintenance(market, position.size)
    return Health(equity, needs if account.index != INSURANCE else 0)


def check(ledger: Ledger, accounts: Iterable[int]) -> None:
    """Look again whether these accounts are below maintenance; who is not begins anew when he is."""
    for index in accounts:
        account = ledger.accounts[index]
        if not health(ledger, account).good:
            ledger.unhealthy.add(index)
            continue
        ledger.unhealthy.discard(index)
        if account.step:
            account.step = 0
            ledger.signed.add(index)


def check_slot(ledger: Ledger, moved: Iterable[int] = ()) -> None:
    """Look again at the accounts that have changed, and at those that hold what has a new mark."""
    numbers = frozenset(moved)
    held = [a.index for a in ledger.accounts if numbers & a.positions.keys()] if numbers else []
    check(ledger, ledger.changed | set(held))


class Liquidation:
    """One slot's liquidations, before its commands.

    Args:
        config: of the venue.
        ledger: whose marks are those of the slot.
        admitter: that sends the machine's orders, and lists events.
    """

    def __init__(self, config: VenueConfig, ledger: Ledger, admitter: Admitter) -> None:
        self._terms = config.liquidation
        self._ledger = ledger
        self._admitter = admitter
        self._moves = MOST_MOVES
        #: Accounts that go on in the market.
        self._in_market: list[Account] = []
        #: Accounts without position that owe, and those that have lost something by another's end.
        self._owing: list[Account] = []
        self._touched: set[int] = set()
        #: What may still be taken of a position's profit in this slot, where something was.
        self._profit: dict[tuple[int, int], int] = {}

    def run(self, moved: list[int]) -> set[int]:
        """Cancel the orders of the accounts that are worst off, end those that are to end, share losses.

        Returns:
            Indices of accounts that another's end has cost a position or money.
        """
        check_slot(self._ledger, moved)
        for account in self._queue():
            if not health(self._ledger, account).good:  # another's end may have saved it
                self._go_on(account)
        self._share_losses()
        return self._touched

    def _queue(self) -> list[Account]:
        ledger, found = self._ledger, []
        for index in sorted(ledger.unhealthy):
            account = ledger.accounts[index]
            if all(has_valid_mark(ledger.markets[number]) for number in account.positions):
                equity, needs = health(ledger, account)
                needs = min(needs, MOST)
                found.append(risk.Unhealthy(index, clamp(equity, LEAST, needs - 1), needs))
        return [ledger.accounts[index] for index in risk.order(found)[: self._terms.cap]]

    def _go_on(self, account: Account) -> None:
        has = health(self._ledger, account)
        for order in newest(account):
            self._ledger.trim(order, 0)
            event = Event(Reason.LIQUIDATE, account.index, order.instrument, *has)
            self._admitter.take_back([(order, 0, event)])
        if has.equity <= 0 or account.step >= self._terms.steps or account.index == INSURANCE:
            self._close_out(account)
        else:
            self._in_market.append(account)

    # In the market

    def trade(self, moved: list[int]) -> None:
        """Send the machine's orders, behind its cancels: they shall not take what no account carries."""
        for account in self._in_market:
            has = health(self._ledger, account)
            if not has.good:
                self._step(account, has)
        self._unwind(moved)

    def _step(self, account: Account, has: Health) -> None:
        """A part of the heaviest position, by an order of the machine; a step is gone even if none can go."""
        number = heaviest(self._ledger, account)
        market, size = self._ledger.markets[number], account.positions[number].size
        lots = risk.step_lots(self._terms, min(abs(size), MOST_LOTS))
        price = self._limit(account, number, account.step)
        event = Event(Reason.LIQUIDATE, account.index, number, *has)
        self._send(account, market, lots if size > 0 else -lots, price, event)
        account.step += 1
        self._ledger.signed.add(account.index)

    def _limit(self, account: Account, number: int, step: int) -> int:
        """Of a step: from c beside the mark to bankruptcy."""
        market, size = self._ledger.markets[number], account.positions[number].size
        bankruptcy = bankruptcy_price(self._ledger, account, number)
        # Prices below zero are none to the function; it is the same wherever zero is.
        shift = abs(market.mark) - market.mark
        return risk.step_price(self._terms, abs(market.mark), bankruptcy + shift, size, step) - shift

    def _send(
        self, account: Account, market: Market, lots: int, limit: int, event: Event, cause: int = 0
    ) -> Reason:
        """An order that closes ``lots`` (negative: short) at ``limit`` or better; NONE, or why not."""
        low, high = market.terms.base, market.terms.base + market.terms.count - 1
        price = max(limit, low) if lots > 0 else min(limit, high)
        if market.status not in (Status.OPEN, Status.CANCEL_ONLY):
            return Reason.STATE
        if not low <= price <= high:
            return Reason.BAND
        lots = clamp(lots, -_LOTS, _LOTS)
        return self._admitter.close(account, market.terms.number, lots, price, event, cause)

    def leave(self, account: Account, cause: int) -> None:
        """Close all positions of an account that a forced request wants closed, within c of the mark.

        Of what is not offered, the first is told, and why.
        """
        left: list[Event] = []
        unmarked = self._ledger.unmarked(account)
        if unmarked is not None:
            left.append(Event(Reason.NO_MARK, account.index, unmarked.terms.number, *unmarked.quorum))
        if health(self._ledger, account).good:  # else it is closed anyhow
            for number, position in sorted(account.positions.items()):
                market = self._ledger.markets[number]
                if has_valid_mark(market):
                    limit = self._limit(account, number, 0)
                    event = Event(Reason.FORCED, account.index, number, position.size, limit)
                    why = self._send(account, market, position.size, limit, event, cause)
                    left += [replace(event, reason=why)] if why else []
        self._admitter.events += left[:1]

    def _unwind(self, moved: list[int]) -> None:
        """Insurance offers a part of each position whose mark is new, within c of it."""
        venue = self._ledger.accounts[INSURANCE]
        for number in sorted(set(moved) & venue.positions.keys()):
            market, size = self._ledger.markets[number], venue.positions[number].size
            if not has_valid_mark(market):
                continue
            lots = risk.step_lots(self._terms, min(abs(size), MOST_LOTS))
            lots = lots if size > 0 else -lots
            away = abs(market.mark) * self._terms.begin_ppm // PPM
            limit = market.mark - away if size > 0 else market.mark + away
            event = Event(Reason.TAKEOVER, INSURANCE, number, -lots, limit)
            self._send(venue, market, lots, limit, event)

    # Beside the market

    def _close_out(self, account: Account) -> None:
        """Positions go to insurance, then to the other side, until the account is healthy or flat."""
        while account.positions and self._moves and not health(self._ledger, account).good:
            number = heaviest(self._ledger, account)
            price = bankruptcy_price(self._ledger, account, number)
            if account.index != INSURANCE:
                self._take_over(account, number, price)
            self._deleverage(account, number, price)
            # Nobody owes profit at the mark: whoever holds the other side may be closed there.
            self._deleverage(account, number, self._ledger.markets[number].mark)
            if number in account.positions and self._moves:
                break  # more lots than a slot can move
        if not account.positions and account.collateral < 0:
            self._owing.append(account)

    def _move(
        self, account: Account, other: Account, number: int, lots: int, price: int, why: Reason
    ) -> None:
        """``lots`` (negative: short) of an account become another's, without a fee."""
        self._ledger.settle(account, number, -lots, price)
        self._ledger.settle(other, number, lots, price)
        self._moves -= 1
        self._touched.add(other.index)
        whose = account if why == Reason.TAKEOVER else other
        self._admitter.events.append(Event(why, whose.index, number, lots, price))

    def _take_over(self, account: Account, number: int, price: int) -> None:
        """What insurance has the margin for."""
        venue, size = self._ledger.accounts[INSURANCE], account.positions[number].size
        if number not in venue.positions and len(venue.positions) >= MOST_HELD:
            return
        sign = 1 if size > 0 else -1
        # A quantum less, for what it closes is rounded once more.
        lots = risk.takeover(
            min(abs(size), MOST_LOTS), lambda n: self._insurance_free(number, sign * n, price) - (n > 0)
        )
        if lots:
            self._move(account, venue, number, sign * lots, price, Reason.TAKEOVER)

    def _insurance_free(self, number: int = -1, lots: int = 0, price: int = 0) -> int:
        """Free collateral of insurance, which has no orders now, with so many lots more at ``price``."""
        ledger, venue = self._ledger, self._ledger.accounts[INSURANCE]
        free = venue.collateral - ledger.unpaid(venue)
        held = {n: (p.size, p.entry) for n, p in venue.positions.items()}
        if lots:
            size, entry = held.get(number, (0, 0))
            held[number] = size + lots, entry + lots * price
        for n, (size, entry) in held.items():
            free += unrealised(ledger.markets[n], size, entry) - initial(ledger.markets[n], size)
        return free

    def _deleverage(self, account: Account, number: int, price: int) -> None:
        """Close against the other side, as far as its profit bears it."""
        if number not in account.positions or not self._moves:
            return
        market, size = self._ledger.markets[number], account.positions[number].size
        terms, lots = _terms(market.terms), clamp(size, -MOST_LOTS, MOST_LOTS)
        opposite = [
            self._opposite(other, number)
            for other in self._ledger.accounts
            if number in other.positions and other.positions[number].size * size < 0
        ]
        taken, _ = risk.deleverage(terms, market.mark, price, lots, opposite)
        for index, n in taken[: self._moves]:
            other, worse = self._ledger.accounts[index], n * abs(market.mark - price) * terms.numerator
            if (price > market.mark) == (size > 0) and worse:
                profit = self._profit_of(other, number)
                self._profit[index, number] = profit - -(-worse // terms.denominator)
            self._move(account, other, number, n if size > 0 else -n, price, Reason.DELEVERAGE)

    def _opposite(self, account: Account, number: int) -> risk.Opposite:
        """A quantum less of profit and equity, for a part that is closed is rounded once more."""
        market, position = self._ledger.markets[number], account.positions[number]
        profit = self._profit_of(account, number) - 1
        value = abs(market.mark * position.size) * market.terms.numerator
        has = health(self._ledger, account)
        return risk.Opposite(
            account.index,
            position.size,
            clamp(profit, LEAST, MOST),
            min(-(-value // market.terms.denominator), MOST),
            clamp(has.equity - 1, LEAST, MOST),
            min(has.maintenance, MOST),
        )

    def _profit_of(self, account: Account, number: int) -> int:
        """Of a position, as far as the slot has not taken it."""
        position = account.positions[number]
        profit = unrealised(self._ledger.markets[number], position.size, position.entry)
        return min(clamp(profit, LEAST, MOST), self._profit.get((account.index, number), MOST))

    def _share_losses(self) -> None:
        """What flat accounts owe is paid by insurance as far as it is free, then by positive equity."""
        if not self._owing:
            return
        ledger, venue = self._ledger, self._ledger.accounts[INSURANCE]
        owed = sum(-account.collateral for account in self._owing)
        insured = min(owed, max(0, min(venue.collateral, self._insurance_free())))
        equities = [
            (a.index, min(health(ledger, a).equity, MOST)) for a in ledger.accounts if a.index != INSURANCE
        ]
        shares, _ = risk.socialise(min(owed - insured, MOST), equities)
        self._pay(venue, insured)
        for index, quanta in shares:
            self._pay(ledger.accounts[index], quanta)
        borne = sum(quanta for _, quanta in shares)
        self._forgive(insured, borne)

    def _forgive(self, insured: int, borne: int) -> None:
        """Pay the debts, in turn, as far as the money goes."""
        left, from_insurance = insured + borne, insured
        for account in self._owing:
            debt = min(-account.collateral, left)
            first = min(debt, from_insurance)
            left, from_insurance = left - debt, from_insurance - first
            if debt:
                self._pay(account, -debt)
                self._admitter.events.append(
                    Event(Reason.SOCIALISE, account.index, _NO_INSTRUMENT, debt, first)
                )

    def _pay(self, account: Account, quanta: int) -> None:
        if quanta:
            account.collateral = money(account.collateral - quanta, f"collateral of account {account.index}")
            account.free_slot = -1
            self._ledger.changed.add(account.index)
            self._touched.add(account.index)


def heaviest(ledger: Ledger, account: Account) -> int:
    """Number of the position that is closed first: the largest weight, of equals the lowest."""
    numbers = sorted(account.positions)
    return numbers[risk.first([initial(ledger.markets[n], account.positions[n].size) for n in numbers])]


def bankruptcy_price(ledger: Ledger, account: Account, number: int) -> int:
    """At which a position takes its part of the account's equity with it; within the prices of the engine.

    What it cannot take remains in the account, and is shared when it is flat.
    """
    market, position = ledger.markets[number], account.positions[number]
    weights = {n: min(initial(ledger.markets[n], p.size), MOST) for n, p in account.positions.items()}
    total = sum(weights.values())
    if not total:
        return market.mark
    equity, size = clamp(health(ledger, account).equity, LEAST, MOST), position.size
    move = equity * weights[number] * market.terms.denominator // (total * abs(size) * market.terms.numerator)
    return clamp(market.mark - move if size > 0 else market.mark + move, *_PRICES)


@cache
def _terms(instrument: Instrument) -> Terms:
    """What a price is worth."""
    return Terms(Kind.PERPETUAL, instrument.numerator, instrument.denominator)
