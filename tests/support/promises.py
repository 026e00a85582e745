"""What a venue promises about money, one function each; a promise that is broken raises :class:`Broken`."""

from fractions import Fraction

from hawse.commit.exits import Haircut, tree
from hawse.keys.messages import BODIES, OWNER_ONLY, MessageKind
from hawse.state.machine import Machine

from .oracle import shortfall

#: Quanta that a fill's own rounding may cost: fee, profit, and the order's share of its reservation.
FILL = 3


class Broken(AssertionError):
    """A promise that was not kept. ``promise`` is its name."""

    def __init__(self, promise, message):
        super().__init__(f"{promise}: {message}")
        self.promise = promise


def _demand(kept, promise, message):
    if not kept:
        raise Broken(promise.__name__, message())


def _quanta(value):
    return f"{float(value):.2f}"


def fills_keep_free_collateral(raid, step):
    """No fill lowers an account's free collateral below where admission left it.

    Admission holds all that may come of the slot's orders; marks are the same before and behind the fills.
    Each fill may cost :data:`FILL` quanta by rounding.
    """
    for index, end in step.end.items():
        least = step.held[index].free - FILL * step.fills.get(index, 0)
        _demand(
            end.free >= least,
            fills_keep_free_collateral,
            lambda i=index, e=end, n=least: f"account {i}: free {_quanta(e.free)}, admitted at {_quanta(n)}",
        )


def positions_had_their_margin(raid, step):
    """No sequence of commands gives a position whose initial margin was never there.

    What equity has beyond the margin of the worst that orders can make of the positions does not become
    negative by commands; where a move of the mark has made it negative, commands do not lower it.
    """
    for index, end in step.end.items():
        start = step.start[index]
        slack = FILL * step.fills.get(index, 0) + max(step.held[index].slack, end.slack)
        _demand(
            end.carried >= min(Fraction(), start.carried) - slack,
            positions_had_their_margin,
            lambda i=index, s=start, e=end: (
                f"account {i}: from {_quanta(s.carried)} to {_quanta(e.carried)} beyond its margin"
            ),
        )


def orders_are_carried(raid, step):
    """An order that may open stays no longer than its account carries it, wherever the mark goes."""
    for index, end in step.end.items():
        slack = FILL * step.fills.get(index, 0) + end.slack
        _demand(
            not end.opens or end.free + end.closing >= -slack,
            orders_are_carried,
            lambda i=index, e=end: f"account {i}: has orders, and free collateral of {_quanta(e.free)}",
        )


def balances_are_conserved(raid, step):
    """All equity, fees and dust are what came in less what went out, exactly; each long has its short."""
    machine = raid.desk.machine
    held, put = machine.sum_of_balances(), machine.deposited - machine.withdrawn
    _demand(held == put, balances_are_conserved, lambda: f"{held} quanta, not {put}")
    for number in machine.markets:
        sizes = [a.positions[number].size for a in machine.accounts if number in a.positions]
        _demand(sum(sizes) == 0, balances_are_conserved, lambda s=sizes: f"positions {s}")


def hand_takes_out_no_more(raid, step):
    """Accounts of one hand take out what they put in, and what others lost to them by trade or mark.

    What they might withdraw next counts as taken. Of a shortfall, insurance bears its part by rule.
    """
    over, insurance = raid.over, max(0, raid.desk.machine.insurance)
    _demand(
        over <= insurance,
        hand_takes_out_no_more,
        lambda: f"took or may take {_quanta(over)} too much, insurance is {insurance}",
    )


def withdrawals_are_of_what_is_there(raid, step):
    """Nobody withdraws more than the oracle says, and nothing while insurance does not bear a shortfall.

    Where a mark moves, orders may have gone first, and only the shortfall is looked at.
    """
    for index, paid in step.paid.items():
        start, missing = step.start[index], shortfall(step.start.values()) - step.start[0].equity
        _demand(
            missing <= 0 and (step.moved or paid <= start.withdrawable),
            withdrawals_are_of_what_is_there,
            lambda i=index, p=paid, s=start, m=missing: (
                f"account {i}: {p} of {_quanta(s.withdrawable)}, {_quanta(m)} are missing"
            ),
        )


def nobody_falls_below_zero(raid, step):
    """Commands take no account below zero; only a mark that moves by more than its margin does.

    An account that is below zero loses by its commands no more than fees.
    """
    for index, end in step.end.items():
        start = step.start[index]
        fees = step.fees.get(index, 0) if start.equity < 0 else 0
        least = min(Fraction(), start.equity) - fees - FILL * step.fills.get(index, 0)
        _demand(
            end.equity >= least,
            nobody_falls_below_zero,
            lambda i=index, s=start, e=end: (
                f"account {i}: equity from {_quanta(s.equity)} to {_quanta(e.equity)}"
            ),
        )


def batch_can_be_anchored(raid, step):
    """Whatever was paid and lost, a batch that ended here would be solvent, as the contract reckons it."""
    machine = raid.desk.machine
    if raid.header is None:
        equities = [machine.equity(a) for a in machine.accounts[1:]]
        positive = sum(max(0, e) for e in equities)
        below = sum(max(0, -e) for e in equities)
        fees = machine.fees
        dust = int(sum(Fraction(m.dust, m.terms.denominator) for m in machine.markets.values()))
        insurance = machine.equity(machine.accounts[0])
    else:
        positive, below = raid.header["exit_positive"], raid.header["exit_shortfall"]
        fees, dust, insurance = (raid.header[name] for name in ("fees", "dust", "insurance"))
        _, sums = tree(raid.exits).root
        _demand(
            sums == (positive, below),
            batch_can_be_anchored,
            lambda: f"exits sum up to {sums}, not {positive} and {below}",
        )
    owed, has = Haircut(positive, below, insurance).owed(fees, dust), machine.deposited - machine.withdrawn
    _demand(owed <= has, batch_can_be_anchored, lambda: f"owes {owed} quanta, has {has}")


def ledger_holds_what_is_due(raid, step):
    """Free collateral and what may be withdrawn are what the oracle says, but for whole quanta."""
    machine = raid.desk.machine
    frozen = shortfall(step.end.values()) - max(0, machine.insurance)
    for a in machine.accounts:
        end, free, most = step.end[a.index], machine.free_collateral(a), machine.withdrawable(a)
        _demand(
            end.free - end.slack <= free <= end.free,
            ledger_holds_what_is_due,
            lambda a=a, e=end, f=free: f"account {a.index}: free {f}, not {_quanta(e.free)}",
        )
        if abs(frozen) > 2 * len(machine.accounts):
            due = 0 if frozen > 0 else end.withdrawable
            _demand(
                due - end.slack <= most <= due,
                ledger_holds_what_is_due,
                lambda a=a, d=due, m=most: f"account {a.index}: withdrawable {m}, not {_quanta(d)}",
            )


def restart_changes_nothing(raid, step):
    """A machine restored from a snapshot gives that snapshot, and holds the same for every order."""
    if not raid.restarts:
        return
    machine = raid.desk.machine
    snapshot = machine.snapshot()
    again = Machine.restore(raid.desk.config, snapshot)
    _demand(again.snapshot() == snapshot, restart_changes_nothing, lambda: "another snapshot")
    for one, other in zip(machine.accounts, again.accounts, strict=True):
        mine = machine.free_collateral(one), machine.withdrawable(one)
        its = again.free_collateral(other), again.withdrawable(other)
        _demand(
            mine == its,
            restart_changes_nothing,
            lambda a=one, m=mine, i=its: f"account {a.index}: free and withdrawable {m}, then {i}",
        )
    raid.desk.machine = again


def only_who_may_signs(raid, step):
    """What is taken is its owner's, or a trading command of an agent that he has appointed and not revoked.

    No message is taken twice, whoever sends it again.
    """
    machine, memory = raid.desk.machine, raid.memory
    agents, seen = memory.setdefault("agents", {}), memory.setdefault("seen", set())
    for row, by in raid.taken:
        kind, index, generation = (int(row[name][0]) for name in ("kind", "account", "generation"))
        life, message = (index, generation), row.tobytes()
        account = machine.accounts[index]
        owner = account.owner if account.generation == generation else None
        if by is not None and by != owner:
            until = agents.get(life, {}).get(by, -1)
            _demand(
                kind not in OWNER_ONLY and machine.time <= until,
                only_who_may_signs,
                lambda k=kind, i=index, u=until: f"account {i}: {MessageKind(k).name} by an agent until {u}",
            )
        _demand(message not in seen, only_who_may_signs, lambda i=index: f"account {i}: taken twice")
        seen.add(message)
        if kind in (MessageKind.APPOINT, MessageKind.REVOKE):
            body = row[1:].view(BODIES[MessageKind.APPOINT])[0]
            until = int(body["agent_expiry"]) if kind == MessageKind.APPOINT else -1
            agents.setdefault(life, {})[body["agent"].tobytes()] = until


def lives_are_told_apart(raid, step):
    """An account's index and generation never were another's, nor its own in a life before."""
    alive, seen = raid.memory.setdefault("alive", {}), raid.memory.setdefault("lives", set())
    owners = set()
    for a in raid.desk.machine.accounts[1:]:
        life = a.generation, a.owner, a.subaccount
        if alive.get(a.index) != life:
            _demand(
                (a.index, a.generation) not in seen,
                lives_are_told_apart,
                lambda a=a: f"account {a.index}: generation {a.generation} again",
            )
            alive[a.index] = life
            seen.add((a.index, a.generation))
        _demand(
            life[1:] not in owners and (a.subaccount == 0 or raid.desk.machine.account_of(a.owner)),
            lives_are_told_apart,
            lambda a=a: f"account {a.index}: subaccount {a.subaccount} twice, or without a main account",
        )
        owners.add(life[1:])


#: All, the cheap ones first.
PROMISES = (
    fills_keep_free_collateral,
    positions_had_their_margin,
    nobody_falls_below_zero,
    orders_are_carried,
    withdrawals_are_of_what_is_there,
    hand_takes_out_no_more,
    balances_are_conserved,
    batch_can_be_anchored,
    ledger_holds_what_is_due,
    only_who_may_signs,
    lives_are_told_apart,
    restart_changes_nothing,
)
