"""The golden machine with a native one beside it: what one says, the other must say, after every call."""

from dataclasses import fields

from hawse.commit.data import ExitState
from hawse.risk.margin import MoneyOverflow
from hawse.state.clearing import ClearingError
from hawse.state.inputs import StateError
from hawse.state.ledger import Strategy
from hawse.state.machine import Machine
from hawse.state.native.machine import NativeMachine
from hawse.state.snapshot import SnapshotError

_ACCOUNT = (
    "owner",
    "generation",
    "subaccount",
    "collateral",
    "transfers",
    "flags",
    "timer",
    "positions",
    "open",
)
_STRATEGY = [field.name for field in fields(Strategy) if field.name != "account"]
_ERRORS = (StateError, ClearingError, MoneyOverflow, SnapshotError)


class Differ(AssertionError):
    """The two forms do not agree."""


def same(what, golden, native):
    """Raises Differ where the forms gave different values."""
    if golden != native:
        raise Differ(f"{what}:\n golden {golden!r}\n native {native!r}")


def _agents(account):
    return [
        (a.address, a.expiry, a.appointed, a.max_life, a.nonces.floor, a.nonces.used)
        for a in account.agents.values()
    ]


def _strategies(mine):
    return sorted([getattr(s, name) for name in _STRATEGY] for s in mine.values())


def both(what, golden, native):
    """What both calls give; where one raises, both must, and of one type."""
    found = []
    for call in (golden, native):
        try:
            found.append((call(), None))
        except _ERRORS as error:
            found.append((None, error))
    (ours, wrong), (theirs, also_wrong) = found
    if type(wrong) is not type(also_wrong):
        raise Differ(f"{what}: golden {wrong!r}, native {also_wrong!r}") from (wrong or also_wrong)
    if isinstance(wrong, StateError | MoneyOverflow):
        same(f"{what}, why not", getattr(wrong, "value", None), getattr(also_wrong, "value", None))
    if wrong is not None:
        raise wrong
    return ours, theirs


class Twin(Machine):
    """A golden machine whose every step a native one takes too.

    Attributes:
        often: compare roots and snapshots behind each slot, not at a batch's end alone.
        commands: messages that both have judged.
    """

    often = True
    commands = 0

    def __init__(self, config):
        super().__init__(config)
        self.native = NativeMachine(config)

    def open_slot(self, slot, signers):
        Twin.commands += len(signers.commands)
        ours, theirs = both(
            f"slot {slot.number}",
            lambda: super(Twin, self).open_slot(slot, signers),
            lambda: self.native.open_slot(slot, signers),
        )
        same("engine commands", ours.orders.tolist(), theirs.orders.tolist())
        for name in ("refusals", "events", "first_seq", "inputs", "command_seqs"):
            same(name, getattr(ours, name), getattr(theirs, name))
        same("transfers", self.transfers, self.native.transfers)
        same("machine's commands", self.machine_commands, self.native.machine_commands)
        same("whose they are", self.machine_accounts, self.native.machine_accounts)
        return ours

    def clear_slot(self, events):
        ours, theirs = both(
            "clearing",
            lambda: super(Twin, self).clear_slot(events),
            lambda: self.native.clear_slot(events),
        )
        if ours != theirs:
            self.explain()
        same("slot digest", ours, theirs)
        same("inputs and withdrawals", self.batch_counts, self.native.batch_counts)
        same("fees", self.fill_fees, self.native.fill_fees)
        if self.often:
            same("state root", super().state_root(), self.native.state_root())
            same("snapshot", super().snapshot(), self.native.snapshot())
        return ours

    def explain(self):
        """Name the account or order that the two do not have alike."""
        for account in self.accounts:
            other = self.native.accounts[account.index]
            for name in _ACCOUNT:
                same(f"{name} of account {account.index}", getattr(account, name), getattr(other, name))
            ours, theirs = (_strategies(a.strategies) for a in (account, other))
            same(f"strategies of account {account.index}", ours, theirs)
            same(f"nonces of account {account.index}", account.nonces.used, other.nonces.used)
            same(f"agents of account {account.index}", _agents(account), _agents(other))
        same("rules", self.rules, self.native.rules)
        same("markets", self.markets, self.native.markets)

    def state_root(self):
        ours, theirs = both("state root", super().state_root, self.native.state_root)
        same("state root", ours, theirs)
        return ours

    def snapshot(self):
        ours, theirs = both("snapshot", super().snapshot, self.native.snapshot)
        same("snapshot", ours, theirs)
        return ours

    def seal_batch(self):
        ours, theirs = both("batch", super().seal_batch, self.native.seal_batch)
        same("header", ours.header_fields(), theirs.header_fields())
        same("lists of the batch", ours, theirs.whole)
        self._exits_from_data(ours, theirs)
        return ours

    def _exits_from_data(self, ours, theirs):
        """What is put on the chain of each batch leads to its exit leaves."""
        before, state = getattr(self, "before", ExitState()), super().exit_state(ours.marks)
        same("exit state", state, self.native.exit_state(theirs.marks))
        found = ExitState.unpack(state.pack(before, ours.number), before, ours.number)
        same("exit state from the data", state, found)
        owners = {account.generation >> 24: account.owner for account in self.accounts}
        same("exit leaves from the data", ours.exits, found.exit_leaves(owners))
        self.before = state

    @classmethod
    def restore(cls, config, data):
        """Each form from the same bytes, which are those that either writes."""
        golden, native = both(
            "restoring", lambda: Machine.restore(config, data), lambda: NativeMachine.restore(config, data)
        )
        twin = cls.__new__(cls)
        vars(twin).update(vars(golden) | {"native": native})
        same("restored root", golden.state_root(), native.state_root())
        return twin
