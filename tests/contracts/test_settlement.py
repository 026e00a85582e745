import random
from dataclasses import astuple, replace
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from hawse.chain import compile as contracts
from hawse.chain.abi import READING
from hawse.chain.client import header_digest
from hawse.commit import exits, withdrawals
from hawse.commit.exits import ExitLeaf
from hawse.commit.header import TYPES, BatchHeader, HeaderError
from hawse.commit.inclusion import prove
from hawse.commit.queues import deposit_accumulator
from hawse.commit.reportlog import ReportLog
from hawse.commit.roots import assets_hash
from hawse.commit.trees import EMPTY, Node
from hawse.commit.withdrawals import Range, Withdrawal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import headers
from support.headers import GENESIS, RULES
from support.settlement import DRIFT, FEE, FUNDS, GRACE, Venue, raw
from web3 import EthereumTesterProvider, Web3
from web3.logs import DISCARD

SIGNERS = {"validators": [], "threshold": 0}
TOKENS = Path(__file__).parent / "tokens"


@pytest.fixture(scope="module")
def web3():
    return Web3(EthereumTesterProvider(EthereumTester(PyEVMBackend())))


@pytest.fixture(scope="module")
def fresh(web3):
    return Venue(web3)


@pytest.fixture
def venue(fresh):
    snapshot = fresh.web3.provider.ethereum_tester.take_snapshot()
    yield fresh
    fresh.web3.provider.ethereum_tester.revert_to_snapshot(snapshot)


# Deposits


def test_deposits_are_numbered_summed_and_chained(venue):
    value, total = bytes(32), 0
    for index, (owner, amount) in enumerate(
        [(venue.owners[0], 5), (venue.owners[1], 10**9), (venue.owners[0], 1)], start=1
    ):
        receipt = venue.deposit(owner, amount)
        value, total = deposit_accumulator(value, index, raw(owner), amount), total + amount
        (event,) = venue.contract.events.Deposit().process_receipt(receipt, errors=DISCARD)
        assert dict(event["args"]) == {"index": index, "owner": owner, "amount": amount, "accumulator": value}
        assert venue.call.deposit_accumulators(index).call() == value
        assert venue.call.deposit_totals(index).call() == total == venue.held()
    assert venue.call.deposit_count().call() == 3
    assert venue.call.deposits_unconsumed().call() == total


def test_deposit_of_nothing_is_refused(venue):
    venue.refuses("deposit: nothing received", venue.call.deposit(0), venue.owners[0])


def test_deposit_beyond_allowance_or_balance_is_refused(venue):
    stranger = venue.web3.eth.accounts[8]
    venue.refuses("erc20: insufficient allowance", venue.call.deposit(1), stranger)
    venue.do(venue.token.functions.approve(venue.contract.address, 1), stranger)
    venue.refuses("erc20: transfer amount exceeds balance", venue.call.deposit(1), stranger)


def test_deposits_stay_within_int64(venue):
    owner, most = venue.owners[0], 2**63 - 1
    venue.do(venue.token.functions.mint(owner, 2**64))
    venue.do(venue.token.functions.approve(venue.contract.address, 2**64), owner)
    venue.refuses("deposit: too much", venue.call.deposit(most + 1), owner)
    venue.deposit(owner, most)
    venue.refuses("deposit: too much", venue.call.deposit(1), venue.owners[1])


def permit(venue, owner, amount, deadline, signer=None):
    domain = {
        "name": "Hawse test dollar",
        "version": "1",
        "chainId": venue.web3.eth.chain_id,
        "verifyingContract": venue.token.address,
    }
    names = {
        "owner": "address",
        "spender": "address",
        "value": "uint256",
        "nonce": "uint256",
        "deadline": "uint256",
    }
    message = {
        "owner": owner,
        "spender": venue.contract.address,
        "value": amount,
        "nonce": venue.token.functions.nonces(owner).call(),
        "deadline": deadline,
    }
    types = {"Permit": [{"name": name, "type": kind} for name, kind in names.items()]}
    signed = Account.sign_message(encode_typed_data(domain, types, message), venue.keys[signer or owner])
    return signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")


def test_permit_and_deposit_in_one_transaction(venue):
    owner, deadline = venue.owners[0], 2**40
    venue.do(venue.token.functions.approve(venue.contract.address, 0), owner)
    signature = permit(venue, owner, 70, deadline)
    venue.refuses("deposit: permit refused", venue.call.deposit_with_permit(71, deadline, *signature), owner)
    venue.do(venue.call.deposit_with_permit(70, deadline, *signature), owner)
    assert venue.held() == 70
    assert venue.token.functions.allowance(owner, venue.contract.address).call() == 0
    # A permit is good once.
    venue.refuses("deposit: permit refused", venue.call.deposit_with_permit(70, deadline, *signature), owner)


def test_permit_signed_by_another_is_refused(venue):
    owner, deadline = venue.owners[0], 2**40
    venue.do(venue.token.functions.approve(venue.contract.address, 0), owner)
    signature = permit(venue, owner, 70, deadline, signer=venue.owners[1])
    venue.refuses("deposit: permit refused", venue.call.deposit_with_permit(70, deadline, *signature), owner)


def test_permit_that_somebody_handed_in_first_still_deposits(venue):
    owner, deadline = venue.owners[0], 2**40
    signature = permit(venue, owner, 70, deadline)
    thief = venue.owners[1]
    venue.do(venue.token.functions.permit(owner, venue.contract.address, 70, deadline, *signature), thief)
    venue.do(venue.call.deposit_with_permit(70, deadline, *signature), owner)
    assert venue.held() == 70


def test_token_without_return_value(web3):
    venue = Venue(web3, "SilentToken")
    owner = venue.owners[0]
    venue.deposit(owner, 50)
    (claim,) = venue.anchor_paying((owner, 20), exit_positive=30)
    venue.do(claim)
    assert (venue.held(), venue.balance(owner)) == (30, FUNDS - 30)


def test_odd_tokens(web3):
    venue = Venue(web3, "OddToken")
    owner, nobody = venue.owners[0], "0x" + "00" * 20
    # What arrives is what counts.
    venue.do(venue.token.functions.misbehave(False, 100, nobody, b""))
    receipt = venue.deposit(owner, 1000)
    (event,) = venue.contract.events.Deposit().process_receipt(receipt)
    assert event["args"]["amount"] == 900 == venue.call.deposit_totals(1).call()
    # A transfer that says False has not happened, in either direction.
    (claim,) = venue.anchor_paying((owner, 400))
    venue.do(venue.token.functions.misbehave(True, 0, nobody, b""))
    venue.refuses("deposit: transfer failed", venue.call.deposit(5), owner)
    venue.refuses("claim: transfer failed", claim)
    # A transfer that calls back finds every door shut. (The lock gives no reason, and nothing
    # else would refuse these amounts.)
    venue.do(venue.token.functions.mint(venue.token.address, FUNDS))
    (other,) = venue.anchor_paying((owner, 7))
    for outside, inside in (
        (claim, other),
        (claim, venue.call.deposit(5)),
        (venue.call.deposit(1000), claim),
        (venue.call.deposit(1000), venue.call.deposit(5)),
    ):
        data = bytes.fromhex(inside._encode_transaction_data()[2:])
        venue.do(venue.token.functions.misbehave(False, 0, venue.contract.address, data))
        with pytest.raises(TransactionFailed) as failure:
            outside.call({"from": owner})
        assert str(failure.value) == "execution reverted: b''"
    venue.do(venue.token.functions.misbehave(False, 0, nobody, b""))
    venue.do(claim)
    assert venue.held() == 500


# Batches


def test_struct_hash_and_digest_are_those_of_the_host(venue):
    rng = random.Random(1)
    for _ in range(3):
        values = {
            name: rng.randbytes(32) if kind == "bytes32" else rng.getrandbits(int(kind.removeprefix("u")[3:]))
            for name, kind in TYPES.items()
        }
        header = BatchHeader(**values | {"insurance": rng.randrange(-(2**127), 2**127)})
        assert venue.call.struct_hash(astuple(header)).call() == header.struct_hash()
        digest = header_digest(header, venue.web3.eth.chain_id, raw(venue.contract.address))
        assert venue.call.digest(astuple(header)).call() == digest


def test_digest_is_that_of_another_eip712_encoder(venue):
    header = venue.header(insurance=-5)
    domain = {
        "name": "Hawse",
        "version": "2",
        "chainId": venue.web3.eth.chain_id,
        "verifyingContract": venue.contract.address,
    }
    kinds = [{"name": name, "type": kind} for name, kind in TYPES.items()]
    message = dict(zip(TYPES, astuple(header), strict=True))
    signed = Account.sign_message(
        encode_typed_data(domain, {"BatchHeader": kinds}, message), venue.keys[venue.operator]
    )
    assert venue.call.digest(astuple(header)).call() == bytes(signed.message_hash)


def test_readers_know_the_views_as_the_compiler_has_them():
    compiled = {entry.get("name"): entry for entry in contracts.load("Settlement").abi}
    for view in READING:
        assert view == compiled[view["name"]]


def test_an_anchor_keeps_two_hashes_and_where_the_next_goes_on(venue):
    venue.deposit(venue.owners[0], 100)
    venue.deposit(venue.owners[1], 50)
    accumulator = venue.call.deposit_accumulators(1).call()
    paid = [Withdrawal(1, raw(venue.owners[0]), 0, 30)]
    among = withdrawals.range_of(paid, 1)
    header = venue.header(
        deposit_index=1, deposit_accumulator=accumulator, exit_positive=70, **headers.withdrawals(among)
    )
    _, receipt = venue.send(header)
    digest = venue.call.digest(astuple(header)).call()
    (event,) = venue.contract.events.Anchored().process_receipt(receipt)
    assert tuple(event["args"].values()) == (1, digest, header.encode())
    assert tuple(venue.call.batches(1).call()) == (digest, among.hash(), venue.now() | 1 << 64 | 30 << 128)
    assert tuple(venue.call.batches(2).call()) == (bytes(32), bytes(32), 0)
    assert venue.call.batch_count().call() == 1
    assert venue.call.state_root().call() == header.state_root
    assert venue.call.accounts().call() == 5
    assert (venue.call.next_input().call(), venue.call.next_withdrawal().call()) == (101, 2)
    assert (venue.call.next_slot().call(), venue.call.last_time().call()) == (10, header.time)
    assert venue.call.deposits_consumed().call() == 1
    assert venue.call.deposits_unconsumed().call() == 50
    assert venue.call.withdrawals_unclaimed().call() == 30
    venue.anchor()
    venue.anchor()
    assert venue.call.batch_count().call() == 3


def test_only_the_operator_anchors(venue):
    venue.refuses("anchor: not the operator", venue.anchoring(venue.header()), venue.owners[0])


#: Behind the first batch of :meth:`Venue.header`, what is refused as what, and whether by the host too.
BAD = [
    ("version", {"version": 1}, True),
    ("version", {"version": 3}, True),
    ("number", {"number": 1}, True),
    ("number", {"number": 3}, True),
    ("previous state root", {"previous_state_root": GENESIS}, True),
    ("accounts", {"accounts": 4}, True),
    ("accounts", {"accounts": 6 + 2**20}, True),
    ("accounts", {"accounts": 2**32 - 1}, True),
    ("inputs gap", {"inputs_first": 102}, True),
    ("inputs gap", {"inputs_first": 100}, True),
    ("inputs count", {"inputs_count": 2**24 + 1}, True),
    ("log leaves", {"log_leaves": 2**34 + 1, "log_records": 2**34 + 1}, True),
    ("log leaves", {"log_leaves": 2**64 - 1, "log_records": 2**64 - 1}, True),
    ("log records", {"log_leaves": 7, "log_records": 6}, True),
    ("log records", {"log_leaves": 7, "log_records": 449}, True),
    ("log records", {"log_leaves": 0, "log_records": 1}, True),
    ("exit positive", {"exit_positive": 2**126}, True),
    ("exit shortfall", {"exit_shortfall": 2**126}, True),
    ("insurance", {"insurance": 2**126}, True),
    ("insurance", {"insurance": -(2**126)}, True),
    ("insurance", {"insurance": -(2**127)}, True),
    ("fees", {"fees": 2**126}, True),
    ("dust", {"dust": 2**126}, True),
    ("withdrawals gap", {"withdrawals_first": 2}, True),
    ("withdrawals gap", {"withdrawals_first": 0}, True),
    ("withdrawals count", {"withdrawals_count": 2**20 + 1}, True),
    ("withdrawals of none", {"withdrawals_sum": 1}, True),
    ("withdrawals of none", {"withdrawals_root": GENESIS}, True),
    ("deposit accumulator", {"deposit_accumulator": b"\x01" * 32}, False),
    ("deposit accumulator", {"deposit_index": 1}, False),
    ("deposit unknown", {"deposit_index": 3}, False),
    ("deposit given back", {"deposit_index": 0, "deposit_accumulator": bytes(32)}, True),
    ("request unknown", {"forced_index": 1}, False),
    ("request accumulator", {"forced_accumulator": b"\x01" * 32}, False),
    ("data provider", {"data_provider": 1}, False),
    ("data provider", {"data_hash": b"\x01" * 32}, True),
    ("rules hash", {"rules_hash": GENESIS}, False),
    ("assets hash", {"assets_hash": GENESIS}, False),
    ("journal gap", {"journal_first": 11, "journal_last": 20}, True),
    ("journal gap", {"journal_first": 9}, True),
    ("journal range", {"journal_last": 9}, True),
    ("journal range", {"journal_last": 10 + 2**32}, True),
    ("journal range", {"journal_last": 2**64 - 2}, True),
]


@pytest.mark.parametrize(("reason", "changes", "host"), BAD)
def test_anchor_that_does_not_continue_is_refused(venue, reason, changes, host):
    venue.deposit(venue.owners[0], 10)
    first = venue.anchor()
    venue.deposit(venue.owners[0], 10)
    bad, good = venue.header(**changes), venue.header()
    venue.refuses(f"anchor: {reason}", venue.anchoring(bad))
    good.check_follows(first)
    if host:
        with pytest.raises(HeaderError) as refused:
            bad.check_follows(first)
        assert refused.value.field in changes
    venue.anchor()  # and the unchanged one is taken


def test_what_is_at_the_bounds_is_taken(venue):
    first = venue.anchor(accounts=1 + 2**20, inputs_count=2**24, log_leaves=2**34, log_records=2**40)
    first.check_follows(None)
    last = venue.anchor(
        accounts=1 + 2**21,
        inputs_count=0,
        log_leaves=0,
        log_records=0,
        exit_shortfall=2**126 - 1,
        insurance=-(2**126) + 1,
        fees=2**126 - 1,
        dust=2**126 - 1,
        journal_last=9 + 2**32,
    )
    last.check_follows(first)
    venue.anchor(accounts=1 + 2**21)


def test_first_batch_begins_with_slot_zero_and_genesis(venue):
    venue.refuses("anchor: journal gap", venue.anchoring(venue.header(journal_first=1)))
    venue.refuses("anchor: inputs gap", venue.anchoring(venue.header(inputs_first=0)))
    venue.refuses("anchor: accounts", venue.anchoring(venue.header(accounts=0)))
    venue.refuses("anchor: previous state root", venue.anchoring(venue.header(previous_state_root=RULES)))
    header = venue.anchor(journal_last=0, accounts=1)
    assert header.previous_state_root == GENESIS
    header.check_follows(None)


def test_time_runs_ahead_of_the_chains_by_the_drift_alone(venue):
    """A header from the far future would block every later one; one that waited for long blocks nothing."""
    now = venue.now() + 10_000
    tester = venue.web3.provider.ethereum_tester

    def at(milliseconds, seconds):
        tester.time_travel(seconds)
        return venue.anchoring(venue.header(time=milliseconds))

    # A call runs in the block before it, which is that of the journey.
    venue.refuses("anchor: time ahead of the chain", at(2**64 - 1, now))
    venue.refuses("anchor: time ahead of the chain", at(1000 * (now + DRIFT) + 1, now + 1))
    anchored = venue.anchor(time=1000 * (venue.now() - 100 * DRIFT))
    venue.refuses("anchor: time", venue.anchoring(venue.header(time=anchored.time - 1)))
    venue.anchor(time=1000 * (venue.now() + DRIFT))  # as far ahead as it goes, and the next is taken
    venue.anchor()


@pytest.mark.parametrize("part", ["exit_positive", "insurance", "fees", "dust", "withdrawals"])
def test_insolvent_by_one_is_refused(venue, part):
    venue.deposit(venue.owners[0], 1000)
    venue.anchor_paying((venue.owners[0], 200), exit_positive=800)
    venue.deposit(venue.owners[1], 30)
    # Of 1030 held, 200 are owed to withdrawals and 30 not consumed.
    kept = {"deposit_index": 1, "deposit_accumulator": venue.call.deposit_accumulators(1).call()}
    exact = dict.fromkeys(["exit_positive", "insurance", "fees", "dust", "withdrawals"], 100) | {part: 400}

    def header(**changes):
        amounts = exact | changes
        due = [Withdrawal(2, raw(venue.owners[2]), 0, amounts.pop("withdrawals"))]
        return venue.header(**kept | headers.withdrawals(withdrawals.range_of(due, 2)) | amounts)

    for wrong in (401, 2**126 - 1):
        venue.refuses("anchor: insolvent", venue.anchoring(header(**{part: wrong})))
    venue.send(header())


def test_no_sum_of_withdrawals_overflows(venue):
    due = [Withdrawal(1, raw(venue.owners[0]), 0, 2**128 - 1)]
    among = withdrawals.range_of(due, 1)
    header = venue.header(**headers.withdrawals(among))
    venue.refuses("anchor: insolvent", venue.anchoring(header))


@pytest.mark.parametrize(
    ("positive", "shortfall", "insurance", "fees", "dust", "owed"),
    [
        (30, 0, 5, 6, 7, 48),
        (30, 5, 5, 6, 7, 43),
        (30, 4, 5, 6, 7, 44),
        (30, 11, 5, 6, 7, 37),
        (30, 35, 5, 6, 7, 13),
        (30, 38, 5, 6, 7, 10),
        (30, 45, 5, 6, 7, 3),
        (30, 48, 5, 6, 7, 0),
        (30, 10**9, 5, 6, 7, 0),
        (0, 11, 5, 6, 7, 7),
        (30, 0, -5, 6, 7, 38),
        (30, 10, -5, 6, 7, 28),
        (30, 30, -5, 6, 7, 8),
        (0, 0, -5, 6, 7, 8),
    ],
)
def test_who_bears_a_shortfall(venue, positive, shortfall, insurance, fees, dust, owed):
    amounts = {
        "exit_positive": positive,
        "exit_shortfall": shortfall,
        "insurance": insurance,
        "fees": fees,
        "dust": dust,
    }
    header = venue.header(**amounts)
    assert header.owed == owed
    if owed:
        venue.deposit(venue.owners[0], owed)
        held = {"deposit_index": 1, "deposit_accumulator": venue.call.deposit_accumulators(1).call()}
        for name in [n for n in ("exit_positive", "fees", "insurance") if amounts[n] > 0]:
            more = venue.header(**held | amounts | {name: amounts[name] + 1})
            if more.owed > owed:
                venue.refuses("anchor: insolvent", venue.anchoring(more))
    anchored = venue.anchor(**amounts)
    assert venue.call.exit_factor(astuple(anchored)).call() == [header.haircut.exits, positive]


def test_tokens_sent_without_a_deposit_are_nobodys(venue):
    venue.deposit(venue.owners[0], 10)
    venue.do(venue.token.functions.transfer(venue.contract.address, 5), venue.owners[1])
    assert venue.call.deposits_unconsumed().call() == 10
    venue.anchor(exit_positive=10)


# Withdrawals


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_every_withdrawal_is_paid_once_to_its_owner(venue, count):
    venue.deposit(venue.owners[0], 10_000)
    venue.anchor_paying(*[(venue.owners[0], 1)] * 250)  # so that ids go over the end of a word of 256
    due = [(venue.owners[1 + i % 3], 10 + i) for i in range(count)]
    claims = venue.anchor_paying(*due)
    for (owner, amount), claim, id_ in zip(due, claims, range(251, 300), strict=False):
        before = venue.balance(owner)
        assert not venue.call.claimed(id_).call()
        receipt = venue.do(claim, venue.owners[0])  # anybody may submit
        assert venue.balance(owner) == before + amount
        (event,) = venue.contract.events.Claimed().process_receipt(receipt, errors=DISCARD)
        assert tuple(event["args"].values()) == (2, id_, owner, amount)
        assert venue.call.claimed(id_).call()
        for again in claims[: id_ - 250]:  # a later one does not open an earlier one again
            venue.refuses("claim: already paid", again, owner)
    assert venue.call.withdrawals_unclaimed().call() == 250
    assert venue.held() == 10_000 - sum(amount for _, amount in due)


def test_claim_with_anything_changed_is_refused(venue):
    venue.deposit(venue.owners[0], 1000)
    paid = [Withdrawal(i, raw(venue.owners[i]), 0, 10 * i) for i in range(1, 5)]
    among, tree = withdrawals.range_of(paid, 1), withdrawals.tree(paid)
    venue.anchor(**headers.withdrawals(among))
    others = [replace(w, id=w.id + 4) for w in paid[:3]]
    venue.anchor(**headers.withdrawals(withdrawals.range_of(others, 5)))
    right, proof = paid[2], tree.proof(2)

    def refused(reason, batch=1, among=among, withdrawal=right, proof=proof):
        venue.refuses(f"claim: {reason}", venue.claim(batch, among, withdrawal, proof))

    for changes in ({"owner": raw(venue.owners[0])}, {"amount": right.amount + 1}, {"id": 2}, {"id": 4}):
        refused("proof", withdrawal=replace(right, **changes))
    for id_ in (0, 5, 2**64 - 1):
        refused("id", withdrawal=replace(right, id=id_))
    refused("proof", proof=proof[:1])
    refused("proof", proof=[*proof, Node(bytes(32), (0,))])
    refused("proof", proof=proof[::-1])
    refused("proof", proof=[])
    for change in (1, -1, 2**128 - 1 - proof[0].sums[0]):
        refused("proof", proof=[Node(proof[0].hash, (proof[0].sums[0] + change,)), proof[1]])
    for batch in (0, 2, 3):
        refused("withdrawals of the batch", batch=batch)
    for changes in ({"root": GENESIS}, {"first": 2}, {"count": 3}, {"sum": 101}):
        refused("withdrawals of the batch", among=replace(among, **changes))
    venue.do(venue.claim(1, among, right, proof))


def test_an_id_stands_in_one_batch_only(venue):
    """An id of nothing in a later batch took the payment of an earlier one."""
    venue.deposit(venue.owners[0], 1000)
    venue.anchor_paying(*[(venue.owners[1], 1)] * 6)
    (claim,) = venue.anchor_paying((venue.owners[1], 600))  # id 7
    again = withdrawals.range_of([Withdrawal(7, raw(venue.owners[1]), 0, 0)], 7)
    header = venue.header(**headers.withdrawals(again))
    venue.refuses("anchor: withdrawals gap", venue.anchoring(header))
    venue.anchor()
    venue.do(claim)
    assert venue.balance(venue.owners[1]) == FUNDS + 600


def test_the_sum_of_a_batch_is_that_of_its_leaves(venue):
    """A sum below that of the leaves made the last of them unclaimable, one above locked money."""
    venue.deposit(venue.owners[0], 1000)
    paid = [Withdrawal(1, raw(venue.owners[1]), 0, 50)]
    right = withdrawals.range_of(paid, 1)
    for number, wrong in enumerate((0, 49, 51), 1):
        among, due = replace(right, sum=wrong, first=number), replace(paid[0], id=number)
        among = replace(among, root=due.hash())
        venue.anchor(**headers.withdrawals(among))
        venue.refuses("claim: proof", venue.claim(number, among, due, []))
    locked = Range(EMPTY, 4, 0, 100)
    header = venue.header(**headers.withdrawals(locked))
    venue.refuses("anchor: withdrawals of none", venue.anchoring(header))


def test_a_tree_whose_sums_lie_pays_nobody(venue):
    """Two leaves of 60 under a declared 100: whatever their parent says, one path at least is refused."""
    venue.deposit(venue.owners[0], 1000)
    paid = [Withdrawal(1, raw(venue.owners[1]), 0, 60), Withdrawal(2, raw(venue.owners[2]), 0, 60)]
    honest = withdrawals.tree(paid)
    for n, sums in enumerate(((60, 40), (40, 60), (50, 50))):
        first = 1 + 2 * n
        leaves = [replace(w, id=first + i) for i, w in enumerate(paid)]
        nodes = [Node(w.hash(), (s,)) for w, s in zip(leaves, sums, strict=True)]
        root = withdrawals.SumTree(withdrawals.NodeTag.WITHDRAWALS, nodes, 1).root
        among = Range(root.hash, first, 2, 100)
        venue.anchor(**headers.withdrawals(among))
        for i, leaf in enumerate(leaves):
            call = venue.claim(n + 1, among, leaf, [nodes[1 - i]])
            if sums[i] != 60:
                venue.refuses("claim: proof", call)
            else:
                venue.do(call)
    assert honest.root.sums == (120,)
    assert venue.held() == 1000 - 120


def test_nothing_can_be_claimed_of_a_batch_without_withdrawals(venue):
    venue.deposit(venue.owners[0], 1000)
    header = venue.anchor()
    due = Withdrawal(1, raw(venue.owners[0]), 0, 0)
    venue.refuses("claim: id", venue.claim(1, header.withdrawals, due, []))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deposit"), st.integers(0, 4), st.integers(1, 10**6)),
        st.tuples(
            st.just("anchor"), st.integers(0, 10), st.lists(st.integers(0, 10), min_size=5, max_size=5)
        ),
        st.tuples(st.just("claim"), st.integers(0, 50), st.none()),
    ),
    min_size=5,
    max_size=20,
)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happens_everybody_can_be_paid(fresh, steps):
    venue, tester = fresh, fresh.web3.provider.ethereum_tester
    snapshot = tester.take_snapshot()
    try:
        open_claims, owed, in_claims, unconsumed = [], 0, 0, 0
        amounts = [0]
        for what, number, detail in steps:
            if what == "deposit":
                venue.deposit(venue.owners[number], detail)
                amounts.append(detail)
                unconsumed += detail
            elif what == "anchor":
                consumed = venue.call.deposits_consumed().call()
                index = consumed + (len(amounts) - 1 - consumed) * number // 10
                unconsumed = sum(amounts[index + 1 :])
                free = venue.held() - in_claims - unconsumed
                # Split all that is free over the parts by the drawn weights.
                parts = [free * weight // max(sum(detail), 1) for weight in detail]
                parts[0] += free - sum(parts)
                changes = dict(
                    zip(["exit_positive", "insurance", "fees", "dust"], parts[:4], strict=True)
                ) | {
                    "deposit_index": index,
                    "deposit_accumulator": venue.call.deposit_accumulators(index).call(),
                }
                due = [(venue.owners[i], a) for i, a in enumerate((parts[4] // 3, parts[4] - parts[4] // 3))]
                first = venue.call.next_withdrawal().call()
                paid = [Withdrawal(first + i, raw(owner), 0, amount) for i, (owner, amount) in enumerate(due)]
                among = withdrawals.range_of(paid, first)
                over = venue.header(**changes | headers.withdrawals(among) | {"exit_positive": parts[0] + 1})
                venue.refuses("anchor: insolvent", venue.anchoring(over))
                open_claims += zip(venue.anchor_paying(*due, **changes), [a for _, a in due], strict=True)
                owed = sum(parts[:4])
                in_claims += parts[4]
            elif open_claims:
                claim, amount = open_claims.pop(number % len(open_claims))
                venue.do(claim)
                in_claims -= amount
            assert venue.call.withdrawals_unclaimed().call() == in_claims
            assert venue.call.deposits_unconsumed().call() == unconsumed
            assert venue.held() == owed + in_claims + unconsumed
        for claim, _ in open_claims:
            venue.do(claim)
        assert venue.held() == owed + unconsumed
    finally:
        tester.revert_to_snapshot(snapshot)


def test_constructor_refuses_nonsense(venue, web3):
    settlement = contracts.load("Settlement")
    factory = venue.web3.eth.contract(abi=settlement.abi, bytecode=settlement.bytecode)
    nobody = "0x" + "00" * 20
    good = {"token": venue.token.address, "operator": venue.operator, "genesis": GENESIS, "rules": RULES}
    odd = venue.create(contracts.compile_file(TOKENS / "OddToken.vy"))
    venue.do(odd.functions.measure(18))
    for reason, changes in (
        ("token: no contract", {"token": venue.owners[0]}),
        ("token: decimals", {"token": odd.address}),
        ("operator: zero", {"operator": nobody}),
        ("drift: out of bounds", {"drift": 59}),
        ("drift: out of bounds", {"drift": 86_401}),
        ("window: out of bounds", {"window": 30 * 86_400 + 1}),
        ("grace: out of bounds", {"grace": 3599}),
        ("grace: out of bounds", {"grace": 90 * 86_400 + 1}),
        ("grace: out of bounds", {"window": GRACE}),
        ("threshold: more than validators", {"validators": [venue.owners[0]], "threshold": 2}),
        ("validators: not ascending", {"validators": sorted(venue.owners)[::-1]}),
        ("validators: not ascending", {"validators": [venue.owners[0]] * 2}),
        ("validators: not ascending", {"validators": [nobody, venue.owners[0]]}),
        ("grace: out of bounds", {"grace": 2 * 3600, "drift": 3600}),
    ):
        with pytest.raises(TransactionFailed, match=reason):
            terms = (
                good
                | {"drift": DRIFT, "window": 0, "grace": GRACE, "fee": FEE}
                | SIGNERS
                | {"data": nobody}
                | changes
            )
            factory.constructor(*terms.values()).estimate_gas({"from": venue.operator})


def test_assets_hash_is_that_of_the_host(venue):
    expected = assets_hash([(venue.web3.eth.chain_id, raw(venue.token.address))])
    assert venue.call.assets_hash().call() == expected


# Exits


def exit_header(venue, leaves, **changes):
    root = exits.tree(leaves).root
    positive, shortfall = root.sums
    fields = {"accounts": len(leaves), "exit_root": root.hash}
    return venue.anchor(**fields | {"exit_positive": positive, "exit_shortfall": shortfall} | changes)


def payout(venue, header, leaf, proof):
    nodes = [(node.hash, *node.sums) for node in proof]
    terms = (leaf.index, Web3.to_checksum_address(leaf.owner), leaf.generation, leaf.equity)
    return venue.call.exit_payout(astuple(header), *terms, nodes)


def exit_leaves(equities):
    venue_s_own = ExitLeaf(0, bytes(20), 0, 0, 0)
    users = [ExitLeaf(i, bytes([i]) * 20, i << 24, 0, equity) for i, equity in enumerate(equities, 1)]
    return [venue_s_own, *users]


@pytest.mark.parametrize("insurance", [0, 4, 50, -3])
def test_exits_are_paid_as_the_host_says(venue, insurance):
    leaves = exit_leaves([100, -20, 0, 7, 1, -1, 33])
    tree = exits.tree(leaves)
    venue.deposit(venue.owners[0], 1000)
    header = exit_header(venue, leaves, insurance=insurance)
    paid = []
    for leaf in leaves:
        paid.append(payout(venue, header, leaf, tree.proof(leaf.index)).call())
        assert paid[-1] == header.haircut.payout(leaf.equity)
        assert exits.verify(leaf, len(leaves), tree.proof(leaf.index), header.exits)
    assert header.haircut.exits - len(leaves) < sum(paid) <= header.haircut.exits


def test_an_index_has_one_exit(venue):
    """Two leaves of account 5: only the one at the place that follows from the index is paid."""
    leaves = exit_leaves([10, 20, 30, 40, 50, 60])
    twice = [*leaves[:6], leaves[5], *leaves[6:]]
    tree = exits.tree(twice)
    venue.deposit(venue.owners[0], 1000)
    header = exit_header(venue, twice)
    assert payout(venue, header, leaves[5], tree.proof(5)).call() == 50
    venue.refuses("exit: proof", payout(venue, header, leaves[5], tree.proof(6)))
    venue.refuses("exit: proof", payout(venue, header, replace(leaves[5], index=6), tree.proof(6)))


def test_exit_with_anything_changed_is_refused(venue):
    leaves = exit_leaves([100, -20, 0, 7])
    tree = exits.tree(leaves)
    venue.deposit(venue.owners[0], 1000)
    header = exit_header(venue, leaves)
    right, proof = leaves[1], tree.proof(1)
    assert payout(venue, header, right, proof).call() == 81  # 100 × 87 / 107
    for changes in (
        {"equity": 101},
        {"equity": -100},
        {"owner": bytes([2]) * 20},
        {"generation": 5},
        {"index": 3},
    ):
        venue.refuses("exit: proof", payout(venue, header, replace(right, **changes), proof))
    venue.refuses("exit: index", payout(venue, header, replace(right, index=5), proof))
    venue.refuses("exit: batch unknown", payout(venue, replace(header, dust=1), right, proof))
    venue.refuses("exit: batch unknown", venue.call.exit_factor(astuple(replace(header, number=0))))
    for k, node in enumerate(proof):
        for sums in ((node.sums[0] + 1, node.sums[1]), (node.sums[0], node.sums[1] + 1), (2**128 - 1, 0)):
            cheat = [*proof[:k], Node(node.hash, sums), *proof[k + 1 :]]
            venue.refuses("exit: proof", payout(venue, header, right, cheat))
    for cheat in (proof[:-1], [*proof, proof[0]], proof[::-1], []):
        venue.refuses("exit: proof", payout(venue, header, right, cheat))
    venue.refuses("exit: proof", payout(venue, exit_header(venue, leaves, exit_positive=108), right, proof))


# Records of the log


def included(venue, proof, **changes):
    p = replace(proof, **changes)
    terms = (p.record, p.leaf, p.position, p.chunk, list(p.siblings))
    contract = venue.log_proofs.functions
    return contract.record_included(venue.contract.address, astuple(p.header), *terms).call()


@pytest.mark.parametrize("leaves", [1, 2, 3, 5, 7, 8, 9, 31, 33])
def test_a_record_of_any_leaf_is_included_and_nothing_else(venue, leaves):
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    slots = [rng.randbytes(24 * rng.choice([1, 2, 63, 64])) for _ in range(leaves)]
    count = sum(map(len, slots)) // 24
    log = log_of(slots)
    header = venue.anchor(log_root=log, log_leaves=leaves, log_records=count)
    longer = venue.anchor(log_root=log, log_leaves=leaves + 1, log_records=count + 1)
    proofs, number = [], 0
    for leaf, records in enumerate(slots):
        position = rng.randrange(len(records) // 24)
        proofs.append(prove(1, bytes(20), header, slots, number + position))
        assert (proofs[-1].leaf, proofs[-1].position) == (leaf, position)
        number += len(records) // 24
    for proof in proofs:
        proof.check()
        assert included(venue, proof)
    for proof in rng.sample(proofs, min(leaves, 4)):
        assert not included(venue, proof, record=rng.randbytes(24))
        assert not included(venue, proof, chunk=proof.chunk + bytes(24) if len(proof.chunk) < 1536 else b"")
        assert not included(venue, proof, leaf=(proof.leaf + rng.randrange(1, leaves + 1)) % (leaves + 1))
        assert not included(venue, proof, siblings=(*proof.siblings, rng.randbytes(32)))
        assert not included(venue, proof, siblings=proof.siblings[1:]) or not proof.siblings
        assert not included(venue, proof, header=replace(header, time=header.time + 1))
        assert not included(venue, proof, header=replace(header, number=3))
    # What was the last leaf has a longer path in a log of one leaf more, even under the same root.
    assert not included(venue, proofs[-1], header=longer)


def log_of(slots):
    log = ReportLog()
    for records in slots:
        log.append(records)
        log.fence(1)
    return log.close()[0]


def test_a_batch_without_records_includes_nothing(venue):
    header = venue.anchor(log_root=EMPTY, log_leaves=0, log_records=0)
    one = headers.header(log_root=log_of([bytes(24)]), log_leaves=1, log_records=1)
    proof = replace(prove(1, bytes(20), one, [bytes(24)], 0), header=header)
    assert not included(venue, proof)
    assert not included(venue, proof, chunk=b"", leaf=0, position=0)
