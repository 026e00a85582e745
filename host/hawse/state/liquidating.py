"""What the machine does with accounts that cannot carry their positions: ``docs/state.md``, Liquidation.

An account below maintenance loses its orders and then, step by step, its positions, by the machine's own IOC
orders. What those do not close, and what is left when the equity is gone, insurance takes over, then whoever
is on the other side; a loss that remains is borne by insurance and by everybody.
"""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from heapq import heappop

from hawse.instruments import PPM
from hawse.risk import margin
from hawse.risk.liquidation import LiquidationTerms, Unhealthy, order, socialise
from hawse.risk.margin import MoneyOverflow
from hawse.wire import Reason, SelfTrade, Side, TimeInForce

from .ledger import INSURANCE, Account, Ledger, Market, Order, Position
from .slot import Event
from .sweep import Taken, newest

#: In place of an instrument's number in the event of a loss.
NO_INSTRUMENT = 0xFFFF
#: Highest client id; an order of the machine has the highest that its account has not used.
_ID_MOST = 2**64 - 1
_QUANTITY_MOST = 2**32 - 1
#: Takeovers and closings of the other side in a slot; who is left then waits for the next.
HANDOVERS_MOST = 1024

#: Sends an order of the machine, for that reason.
Send = Callable[[Order, Reason], None]


class Liquidation:
    """One slot's liquidations.

    Args:
        terms: of the venue.
        ledger: whose accounts are looked at.
        events: what happens is put behind them.
        take_back: cancels orders.
        send: an IOC order, of which the ledger knows.
        seq: gives the sequence number that the next order will have.
    """

    def __init__(
        self,
        terms: LiquidationTerms,
        ledger: Ledger,
        events: list[Event],
        take_back: Callable[[Iterable[Taken]], None],
        send: Send,
    ) -> None:
        self._terms, self._ledger, self._events = terms, ledger, events
        self._take_back, self._send = take_back, send
        self._handovers = 0

    def run(self, moved: Iterable[int]) -> None:
        """Go on with the accounts that are worst off, so many of them; then let insurance unwind.

        Args:
            moved: instruments whose mark is another than in the last slot.
        """
        unhealthy = self._unhealthy(frozenset(moved))
        self._ledger.suspects = {each.account for each in unhealthy}
        for index in order(unhealthy)[: self._terms.cap]:
            self._go_on(self._ledger.accounts[index])
        self._unwind()

    def _unhealthy(self, moved: frozenset[int]) -> list[Unhealthy]:
        """Accounts below maintenance; of no other it could be that has not changed since the last slot."""
        ledger, found = self._ledger, []
        for account in ledger.accounts:
            if account.index not in ledger.suspects and not moved & account.positions.keys():
                continue
            equity, needed = ledger.equity(account), ledger.maintenance(account)
            if equity < needed:
                found.append(Unhealthy(account.index, equity, needed))
            elif account.steps:
                account.steps = 0
                ledger.signed.add(account.index)
        return found

    def _go_on(self, account: Account) -> None:
        self._take_back(list(self._orders_of(account)))
        equity = self._ledger.equity(account)
        steps = account.positions and equity > 0 and account.steps < self._terms.steps
        if steps and account.index != INSURANCE:  # which was closing its positions all the time
            self._step(account, equity)
        else:
            self._resolve(account, equity)

    def _orders_of(self, account: Account) -> Iterator[Taken]:
        for each in newest(account):
            left = each.remaining
            self._ledger.trim(each, 0)
            yield each, 0, Event(Reason.LIQUIDATE, account.index, each.instrument, left, 0)

    # By orders

    def _step(self, account: Account, equity: int) -> None:
        """Close a part of the position that weighs most, at no worse a price than bankruptcy."""
        number = self._by_weight(account)[0]
        market, size = self._ledger.markets[number], account.positions[number].size
        price = self._step_price(market.mark, self._bankruptcy(account, number, equity), size, account.steps)
        if self._close(account, market, size, price, Reason.LIQUIDATE):
            account.steps += 1
            self._ledger.signed.add(account.index)

    def _close(self, account: Account, market: Market, size: int, price: int, reason: Reason) -> bool:
        """Send an order that closes the next part of a position; False if the engine has no room for it."""
        ledger, terms = self._ledger, market.terms
        if not ledger.handles or (account.owner not in ledger.tags and not ledger.free_tags):
            return False
        price = max(terms.base, min(price, terms.base + terms.count - 1))
        lots, client_id = self._lots(abs(size)), _ID_MOST
        while client_id in account.orders:
            client_id -= 1
        sent = Order(
            client_id,
            account,
            heappop(ledger.handles),
            terms.number,
            Side.SELL if size > 0 else Side.BUY,
            TimeInForce.IOC,
            SelfTrade.CANCEL_OLDEST,
            price,
            lots,
            queue=0,
        )
        self._events.append(Event(reason, account.index, terms.number, lots if size < 0 else -lots, price))
        self._send(sent, reason)
        return True

    def _lots(self, left: int) -> int:
        """Of a position of so many lots, those of the next step."""
        terms = self._terms
        part = left if left < terms.whole else -(-left * terms.share_ppm // PPM)
        return min(part, terms.most, _QUANTITY_MOST)

    def _step_price(self, mark: int, bankruptcy: int, size: int, step: int) -> int:
        """From c beside the mark to bankruptcy, and never worse than that."""
        terms, sign = self._terms, 1 if size > 0 else -1
        begin = mark - sign * (abs(mark) * terms.begin_ppm // PPM)
        far = max(0, sign * (begin - bankruptcy))
        last = terms.steps - 1
        limit = begin - sign * (far if step >= last else far * step // last)
        return max(limit, bankruptcy) if size > 0 else min(limit, bankruptcy)

    def _by_weight(self, account: Account) -> list[int]:
        """Its instruments, the one with the largest weight first."""
        return sorted(sorted(account.positions), key=lambda number: (-self._weight(account, number), number))

    def _weight(self, account: Account, number: int) -> int:
        market = self._ledger.markets[number]
        return margin.initial_margin(market.terms, market.mark, account.positions[number].size)

    def _bankruptcy(self, account: Account, number: int, equity: int) -> int:
        """At which price a position takes its share of the equity with it; rounded for the account."""
        market, size = self._ledger.markets[number], account.positions[number].size
        own, total = self._weight(account, number), sum(self._weight(account, n) for n in account.positions)
        if not total:
            own, total = 1, len(account.positions)
        above, below = equity * own * market.terms.denominator, total * abs(size) * market.terms.numerator
        return market.mark - above // below if size > 0 else market.mark + above // below

    # Without orders

    def _resolve(self, account: Account, equity: int) -> None:
        """Close all that is left at the bankruptcy prices, and have the loss borne that remains."""
        ledger = self._ledger
        prices = {number: self._bankruptcy(account, number, equity) for number in account.positions}
        for number in self._by_weight(account):
            market, price = ledger.markets[number], prices[number]
            self._take_over(account, market, price)
            self._deleverage(account, market, price)
            self._deleverage(account, market, market.mark)
        if account.positions:
            return
        if account.collateral < 0:
            self._bear(account)
        if account.steps:
            account.steps = 0
            ledger.signed.add(account.index)

    def _take_over(self, account: Account, market: Market, price: int) -> None:
        """As many lots as insurance's own margin allows."""
        size, venue = account.positions[market.terms.number].size, self._ledger.accounts[INSURANCE]
        if account is venue:
            return
        held = venue.positions.keys() | venue.open.keys()
        if market.terms.number not in held and len(held) >= self._ledger.position_quota:
            return
        sign, low, high = 1 if size > 0 else -1, 0, abs(size)
        if self._free_after(venue, market, 0, price) < 1:
            return
        while low < high:
            middle = (low + high + 1) >> 1
            if self._free_after(venue, market, sign * middle, price) >= 1:
                low = middle
            else:
                high = middle - 1
        if low and self._handovers < HANDOVERS_MOST:
            self._hand_over(account, venue, market, sign * low, price, Reason.TAKEOVER)

    def _free_after(self, venue: Account, market: Market, lots: int, price: int) -> int:
        """Free collateral of an account that has bought lots, before anything of it is realised.

        0 where a number on the way leaves int64.
        """
        try:
            return self._exactly_free_after(venue, market, lots, price)
        except MoneyOverflow:
            return 0

    def _exactly_free_after(self, venue: Account, market: Market, lots: int, price: int) -> int:
        ledger, number = self._ledger, market.terms.number
        position = venue.positions.get(number)
        size, entry = (position.size, position.entry) if position else (0, 0)
        has = [at for at in ledger.at_mark(venue) if at[0].number != number]
        equity = venue.collateral + sum(margin.unrealised(*each) for each in has)
        equity += margin.unrealised(market.terms, size + lots, entry + lots * price, market.mark)
        held = sum(margin.initial_margin(terms, mark, lots_) for terms, lots_, _, mark in has)
        return equity - held - margin.initial_margin(market.terms, market.mark, size + lots)

    def _deleverage(self, account: Account, market: Market, price: int) -> None:
        """Close against who is on the other side, the most profitable and leveraged first.

        At the mark it costs nobody anything. At a worse price each gives up at most the profit that he has in
        the instrument, and nothing that his maintenance needs.
        """
        position = account.positions.get(market.terms.number)
        if position is None or self._handovers == HANDOVERS_MOST:
            return
        sign, left = (1 if position.size > 0 else -1), abs(position.size)
        gap = sign * (price - market.mark)
        for other in self._ranked(account, market, sign):
            most = self._bearable(other, market, gap)
            lots = min(left, abs(other.positions[market.terms.number].size), most)
            if lots > 0:
                self._hand_over(account, other, market, sign * lots, price, Reason.DELEVERAGE)
                left -= lots
            if not left or self._handovers == HANDOVERS_MOST:
                return

    def _ranked(self, account: Account, market: Market, sign: int) -> list[Account]:
        """Accounts on the other side, by profit × notional / equity; then the others by index."""
        number, found = market.terms.number, []
        for other in self._ledger.accounts:
            position = other.positions.get(number)
            if other is account or position is None or (position.size > 0) == (sign > 0):
                continue
            found.append((-self._score(other, market, position), other.index, other))
        return [other for _, _, other in sorted(found, key=lambda each: each[:2])]

    def _score(self, other: Account, market: Market, position: Position) -> Fraction:
        """Profit × leverage; 0 where a number on the way leaves int64."""
        try:
            profit = margin.unrealised(market.terms, position.size, position.entry, market.mark)
            notional = margin.notional(market.terms, market.mark, position.size)
            equity = self._ledger.equity(other)
        except MoneyOverflow:
            return Fraction(0)
        scores = profit > 0 and equity > 0 and notional > 0
        return Fraction(profit * notional, equity) if scores else Fraction(0)

    def _bearable(self, other: Account, market: Market, gap: int) -> int:
        """Lots that it can close ``gap`` worse than the mark; none where a number leaves int64."""
        position = other.positions[market.terms.number]
        if gap <= 0:
            return abs(position.size)
        try:
            profit = margin.unrealised(market.terms, position.size, position.entry, market.mark)
            spare = min(profit, self._ledger.equity(other) - self._ledger.maintenance(other))
        except MoneyOverflow:
            return 0
        return max(0, spare) * market.terms.denominator // (gap * market.terms.numerator)

    def _hand_over(
        self, account: Account, other: Account, market: Market, lots: int, price: int, reason: Reason
    ) -> None:
        """Lots (negative: of a short position) go from one account to another at a price."""
        self._handovers += 1
        self._ledger.move(account, market, -lots, price)
        self._ledger.move(other, market, lots, price)
        whose = other.index if reason == Reason.DELEVERAGE else account.index
        self._events.append(Event(reason, whose, market.terms.number, lots, price))

    def _bear(self, account: Account) -> None:
        """A loss: insurance pays what it has free, and all positive equity the rest, in proportion."""
        ledger, loss = self._ledger, -account.collateral
        venue = ledger.accounts[INSURANCE]
        free = 0 if account is venue else min(venue.collateral, ledger.free_collateral(venue))
        paid = min(loss, max(0, free))
        ledger.pay(venue, -paid)
        bearers = [(a.index, ledger.equity(a)) for a in ledger.accounts[INSURANCE + 1 :] if a is not account]
        shares, rest = socialise(loss - paid, bearers)
        for share in shares:
            if share.quanta:
                ledger.pay(ledger.accounts[share.account], -share.quanta)
        ledger.pay(account, loss - rest)
        self._events.append(Event(Reason.SOCIALISE, account.index, NO_INSTRUMENT, loss, paid))

    def _unwind(self) -> None:
        """Insurance closes what it has taken over, at the mark or better, a part of each a slot."""
        ledger = self._ledger
        venue = ledger.accounts[INSURANCE]
        for number, position in sorted(venue.positions.items()):
            market = ledger.markets[number]
            self._close(venue, market, position.size, market.mark, Reason.TAKEOVER)


def fee(terms: LiquidationTerms, value: int, equity: int) -> int:
    """Of a notional that was closed: rounded up, but never beyond what equity is left."""
    return min(-(-value * terms.fee_ppm // PPM), max(0, equity))
