"""Money that leaves an account: to its owner, or to another of his subaccounts."""

from collections.abc import Callable

from hawse.risk.margin import MONEY_MAX
from hawse.wire import Reason

from .config import VenueConfig
from .forms import Wrong, offset
from .ledger import ISOLATED, TRANSFERS_MAX, Account, Ledger


class Payments:
    """Withdrawals and transfers of one slot.

    Args:
        config: of the venue.
        ledger: whose collateral changes.
        slot: number of the slot.
        batch: that the slot belongs to.
        pay: called with owner and amount of each withdrawal.

    Attributes:
        received: account and generation that a TRANSFER went to, by its sequence number.
    """

    def __init__(
        self, config: VenueConfig, ledger: Ledger, slot: int, batch: int, pay: Callable[[bytes, int], None]
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._slot = slot
        self._batch = batch
        self._pay = pay
        self._shortfall: int | None = None
        self.received: dict[int, tuple[int, int]] = {}

    def look_again(self) -> None:
        """Accounts have been closed: what they owe may be another sum."""
        self._shortfall = None

    def withdraw(self, account: Account, amount: int) -> Wrong | None:
        """Pay quanta to the owner, or say why not."""
        wrong = self._stays(account, amount)
        if wrong is not None:
            return wrong
        self._take(account, amount)
        self._pay(account.owner, amount)
        return None

    def withdraw_all(self, account: Account) -> Wrong | None:
        """Pay the owner all that may leave, which may be nothing; or say why it may not now."""
        amount = self._ledger.withdrawable(account, self._ledger.free_left(account, self._slot))
        return self.withdraw(account, amount) if amount else None

    def transfer(self, account: Account, subaccount: int, amount: int, seq: int) -> Wrong | None:
        """Move quanta to another subaccount of the owner, opened if there is none; or say why not."""
        if subaccount == account.subaccount:
            return Wrong(Reason.REQUEST, subaccount, subaccount ^ 1, offset("instrument"))
        wrong = self._stays(account, amount)
        if wrong is not None:
            return wrong
        ledger = self._ledger
        main, target = ledger.by_owner[account.owner][0], ledger.account_of(account.owner, subaccount)
        if main.transfers >= TRANSFERS_MAX:
            return Wrong(Reason.OVERFLOW, main.transfers + 1, TRANSFERS_MAX, 1)
        held = amount + (target.collateral if target else 0)
        if held > MONEY_MAX:
            return Wrong(Reason.OVERFLOW, held, MONEY_MAX)
        wrong = None if target else self._stays_closed(account.owner, subaccount, amount)
        if wrong is not None:
            return wrong
        main.transfers += 1
        ledger.signed.add(main.index)
        self._take(account, amount)
        if target is None:
            generation = main.generation | main.transfers
            target = ledger.open_account(account.owner, generation, subaccount, self._batch)
        ledger.credit(target, amount)
        if target.free_slot == self._slot:
            target.free += amount
        self.received[seq] = target.index, target.generation
        return None

    def _stays(self, account: Account, amount: int) -> Wrong | None:
        """Why so many quanta may not leave an account."""
        if amount > MONEY_MAX:
            return Wrong(Reason.OVERFLOW, amount, MONEY_MAX)
        if amount > account.collateral:
            return Wrong(Reason.BALANCE, account.collateral, amount)
        ledger = self._ledger
        withdrawable = ledger.withdrawable(account, ledger.free_left(account, self._slot))
        if amount > withdrawable:
            return Wrong(Reason.WITHDRAWABLE, withdrawable, amount)
        if self._shortfall is None:
            self._shortfall = ledger.shortfall()
        if self._shortfall > ledger.insurance:
            return Wrong(Reason.WITHDRAWABLE, ledger.insurance, self._shortfall, 1)
        return None

    def _stays_closed(self, owner: bytes, subaccount: int, amount: int) -> Wrong | None:
        """Why a TRANSFER may not open a subaccount."""
        ledger, config = self._ledger, self._config
        if amount < config.minimum_deposit:
            return Wrong(Reason.MIN_DEPOSIT, amount, config.minimum_deposit)
        number = subaccount - ISOLATED
        if number >= 0 and number not in ledger.markets:
            return Wrong(Reason.NO_INSTRUMENT, number, max(ledger.markets))
        mine = len(ledger.by_owner[owner])
        if mine >= config.account_quota:
            return Wrong(Reason.ACCOUNT_QUOTA, mine, config.account_quota)
        return None

    def _take(self, account: Account, amount: int) -> None:
        account.free -= amount
        account.collateral -= amount
        self._ledger.changed.add(account.index)
