import random
from dataclasses import astuple, fields, replace
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from hawse.chain import compile as contracts
from hawse.chain.client import header_digest
from hawse.commit import header as header_module
from hawse.commit import merkle, withdrawals
from hawse.commit.header import BatchHeader
from hawse.commit.inclusion import prove
from hawse.commit.leaves import deposit_accumulator
from hawse.commit.withdrawals import Withdrawal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web3 import EthereumTesterProvider, Web3
from web3.logs import DISCARD

GENESIS, RULES = b"\x11" * 32, b"\x22" * 32
TOKENS = Path(__file__).parent / "tokens"
FUNDS = 10**12


class Venue:
    """A settlement contract on an EVM in this process, and the headers that would continue it."""

    def __init__(self, web3, token="QuoteToken"):
        self.web3 = web3
        # eth-tester's accounts have the private keys 1, 2, ...
        self.operator, *self.owners = web3.eth.accounts[:6]
        keys = [i.to_bytes(32, "big") for i in range(1, 7)]
        self.keys = {Account.from_key(key).address: key for key in keys}
        source = contracts.folder() if token == "QuoteToken" else TOKENS
        self.token = self.create(contracts.compile_file(source / f"{token}.vy"))
        self.contract = self.create(
            contracts.load("Settlement"), self.token.address, self.operator, GENESIS, RULES
        )
        for owner in self.owners:
            self.do(self.token.functions.mint(owner, FUNDS))
            if token == "QuoteToken":
                self.do(self.token.functions.approve(self.contract.address, FUNDS), owner)
        self.call = self.contract.functions

    def create(self, contract, *args):
        made = self.web3.eth.contract(abi=contract.abi, bytecode=contract.bytecode).constructor(*args)
        hash_ = made.transact({"from": self.operator, "gas": 5_000_000})
        return self.web3.eth.contract(
            self.web3.eth.get_transaction_receipt(hash_)["contractAddress"], abi=contract.abi
        )

    def do(self, call, sender=None):
        hash_ = call.transact({"from": sender or self.operator, "gas": 2_000_000})
        receipt = self.web3.eth.get_transaction_receipt(hash_)
        assert receipt["status"] == 1, call.fn_name
        return receipt

    def refuses(self, reason, call, sender=None):
        with pytest.raises(TransactionFailed) as failure:
            call.call({"from": sender or self.operator})
        assert str(failure.value) == f"execution reverted: {reason}"

    def deposit(self, owner, amount):
        return self.do(self.call.deposit(amount), owner)

    def balance(self, owner):
        return self.token.functions.balanceOf(owner).call()

    def held(self):
        return self.call.balance_held().call()

    def header(self, **changes):
        """A header that continues the chain, consumes every deposit and owes nobody anything."""
        number, count = self.call.batch_count().call() + 1, self.call.deposit_count().call()
        first = self.call.next_slot().call()
        values = {
            "version": 1,
            "number": number,
            "previous_state_root": self.call.state_root().call(),
            "state_root": number.to_bytes(32, "big"),
            "exit_root": b"\x33" * 32,
            "exit_sum": 0,
            "exit_numerator": 1,
            "exit_denominator": 1,
            "log_root": b"\x44" * 32,
            "log_leaves": 7,
            "log_records": 1700,
            "outcomes_root": b"\x55" * 32,
            "withdrawals_root": withdrawals.root([]),
            "withdrawals_sum": 0,
            "deposit_index": count,
            "deposit_accumulator": self.call.deposit_accumulators(count).call(),
            "forced_index": 0,
            "forced_accumulator": bytes(32),
            "data_hash": b"\x66" * 32,
            "data_provider": b"\x77" * 32,
            "rules_hash": RULES,
            "journal_first": first,
            "journal_last": first + 9,
            "journal_hash": b"\x88" * 32,
            "insurance": 0,
            "fees": 0,
            "dust": 0,
            "time": 1_700_000_000_000 + number,
        }
        return BatchHeader(**{**values, **changes})

    def anchor(self, **changes):
        header = self.header(**changes)
        self.do(self.call.anchor(astuple(header)))
        return header

    def claim(self, batch, withdrawal, path, proof):
        owner = Web3.to_checksum_address(withdrawal.owner)
        return self.call.claim(batch, withdrawal.id, owner, withdrawal.amount, path, list(proof))


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


def raw(address):
    return bytes.fromhex(address[2:])


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
    paid = Withdrawal(1, raw(owner), 20)
    venue.anchor(withdrawals_sum=20, withdrawals_root=withdrawals.root([paid]), exit_sum=30)
    venue.do(venue.claim(1, paid, *withdrawals.proof([paid], 0)))
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
    paid = Withdrawal(1, raw(owner), 400)
    venue.anchor(withdrawals_sum=400, withdrawals_root=withdrawals.root([paid]))
    venue.do(venue.token.functions.misbehave(True, 0, nobody, b""))
    claim = venue.claim(1, paid, *withdrawals.proof([paid], 0))
    venue.refuses("deposit: transfer failed", venue.call.deposit(5), owner)
    venue.refuses("claim: transfer failed", claim)
    # A transfer that calls back finds every door shut. (The lock gives no reason, and nothing
    # else would refuse these amounts.)
    venue.do(venue.token.functions.mint(venue.token.address, FUNDS))
    other = Withdrawal(2, raw(owner), 7)
    venue.anchor(withdrawals_sum=7, withdrawals_root=withdrawals.root([other]))
    claims = claim, venue.claim(2, other, *withdrawals.proof([other], 0))
    for outside, inside in (
        claims,
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
            field.name: rng.randbytes(32) if kind == "bytes32" else rng.getrandbits(int(kind[4:]))
            for field in fields(BatchHeader)
            for kind in [header_module._TYPES[field.name]]
        }
        header = BatchHeader(**values)
        assert venue.call.struct_hash(astuple(header)).call() == header.struct_hash()
        digest = header_digest(header, venue.web3.eth.chain_id, raw(venue.contract.address))
        assert venue.call.digest(astuple(header)).call() == digest


def test_digest_is_that_of_another_eip712_encoder(venue):
    header = venue.header(time=5)
    domain = {
        "name": "Hawse",
        "version": "1",
        "chainId": venue.web3.eth.chain_id,
        "verifyingContract": venue.contract.address,
    }
    kinds = [{"name": name, "type": kind} for name, kind in header_module._TYPES.items()]
    message = dict(zip(header_module._TYPES, astuple(header), strict=True))
    signed = Account.sign_message(
        encode_typed_data(domain, {"BatchHeader": kinds}, message), venue.keys[venue.operator]
    )
    assert venue.call.digest(astuple(header)).call() == bytes(signed.message_hash)


def test_anchor_stores_what_claims_and_verifiers_need(venue):
    venue.deposit(venue.owners[0], 100)
    venue.deposit(venue.owners[1], 50)
    accumulator = venue.call.deposit_accumulators(1).call()
    header = venue.header(deposit_index=1, deposit_accumulator=accumulator, withdrawals_sum=30, exit_sum=70)
    receipt = venue.do(venue.call.anchor(astuple(header)))
    digest = venue.call.digest(astuple(header)).call()
    (event,) = venue.contract.events.Anchored().process_receipt(receipt)
    assert tuple(event["args"].values()) == (1, header.state_root, header.log_root, digest)
    assert tuple(venue.call.batches(1).call()) == (
        digest,
        header.state_root,
        header.exit_root,
        header.log_root,
        header.log_leaves,
        header.log_records,
        header.withdrawals_root,
        30,
    )
    assert venue.call.batch_count().call() == 1
    assert venue.call.state_root().call() == header.state_root
    assert venue.call.deposits_consumed().call() == 1
    assert venue.call.deposits_unconsumed().call() == 50
    assert venue.call.withdrawals_unclaimed().call() == 30
    venue.anchor()
    venue.anchor()
    assert venue.call.batch_count().call() == 3


def test_only_the_operator_anchors(venue):
    venue.refuses("anchor: not the operator", venue.call.anchor(astuple(venue.header())), venue.owners[0])


@pytest.mark.parametrize(
    "reason, changes",
    [
        ("version", {"version": 2}),
        ("number", {"number": 1}),
        ("number", {"number": 3}),
        ("previous state root", {"previous_state_root": GENESIS}),
        ("rules hash", {"rules_hash": bytes(32)}),
        ("journal gap", {"journal_first": 11, "journal_last": 20}),
        ("journal gap", {"journal_first": 9}),
        ("journal range", {"journal_last": 9}),
        ("time", {"time": 1_700_000_000_000}),
        ("deposit accumulator", {"deposit_accumulator": b"\x01" * 32}),
        ("deposit accumulator", {"deposit_index": 1}),
        ("deposit unknown", {"deposit_index": 3}),
        ("deposit given back", {"deposit_index": 0, "deposit_accumulator": bytes(32)}),
        ("forced queue", {"forced_index": 1}),
        ("forced queue", {"forced_accumulator": b"\x01" * 32}),
        ("exit factor", {"exit_numerator": 2}),
        ("exit factor", {"exit_numerator": 0, "exit_denominator": 0}),
    ],
)
def test_anchor_that_does_not_continue_is_refused(venue, reason, changes):
    venue.deposit(venue.owners[0], 10)
    venue.anchor()
    venue.deposit(venue.owners[0], 10)
    venue.refuses(f"anchor: {reason}", venue.call.anchor(astuple(venue.header(**changes))))
    venue.anchor()  # and the unchanged one is taken


def test_first_batch_begins_with_slot_zero_and_genesis(venue):
    venue.refuses("anchor: journal gap", venue.call.anchor(astuple(venue.header(journal_first=1))))
    venue.refuses(
        "anchor: previous state root", venue.call.anchor(astuple(venue.header(previous_state_root=RULES)))
    )
    assert venue.anchor(journal_last=0).previous_state_root == GENESIS


@pytest.mark.parametrize("part", ["exit_sum", "insurance", "fees", "dust", "withdrawals_sum"])
def test_insolvent_by_one_is_refused(venue, part):
    venue.deposit(venue.owners[0], 1000)
    venue.anchor(withdrawals_sum=200, exit_sum=800)
    venue.deposit(venue.owners[1], 30)
    # Of 1030 held, 200 are owed to withdrawals and 30 not consumed.
    kept = {"deposit_index": 1, "deposit_accumulator": venue.call.deposit_accumulators(1).call()}
    some = {"exit_sum": 100, "insurance": 100, "fees": 100, "dust": 100, "withdrawals_sum": 100}
    exact = kept | some | {part: 400}
    venue.refuses("anchor: insolvent", venue.call.anchor(astuple(venue.header(**exact | {part: 401}))))
    venue.refuses("anchor: insolvent", venue.call.anchor(astuple(venue.header(**exact | {part: 2**256 - 1}))))
    venue.anchor(**exact)


def test_tokens_sent_without_a_deposit_are_nobodys(venue):
    venue.deposit(venue.owners[0], 10)
    venue.do(venue.token.functions.transfer(venue.contract.address, 5), venue.owners[1])
    assert venue.call.deposits_unconsumed().call() == 10
    venue.anchor(exit_sum=10)


# Withdrawals


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_every_withdrawal_is_paid_once_to_its_owner(venue, count):
    venue.deposit(venue.owners[0], 10_000)
    paid = [Withdrawal(100 + i, raw(venue.owners[1 + i % 3]), 10 + i) for i in range(count)]
    venue.anchor(withdrawals_sum=sum(w.amount for w in paid), withdrawals_root=withdrawals.root(paid))
    for i, withdrawal in enumerate(paid):
        owner = venue.owners[1 + i % 3]
        before = venue.balance(owner)
        claim = venue.claim(1, withdrawal, *withdrawals.proof(paid, i))
        receipt = venue.do(claim, venue.owners[0])  # anybody may submit
        assert venue.balance(owner) == before + withdrawal.amount
        (event,) = venue.contract.events.Claimed().process_receipt(receipt, errors=DISCARD)
        assert tuple(event["args"].values()) == (1, withdrawal.id, owner, withdrawal.amount)
        assert venue.call.claimed(withdrawal.id).call()
        venue.refuses("claim: already paid", claim, owner)
    assert venue.call.withdrawals_unclaimed().call() == 0
    assert venue.held() == 10_000 - sum(w.amount for w in paid)


def test_claim_with_anything_changed_is_refused(venue):
    venue.deposit(venue.owners[0], 1000)
    paid = [Withdrawal(i, raw(venue.owners[i]), 10 * i) for i in range(1, 5)]
    venue.anchor(withdrawals_sum=100, withdrawals_root=withdrawals.root(paid))
    venue.anchor(withdrawals_sum=100, withdrawals_root=withdrawals.root(paid[:3]))
    path, proof = withdrawals.proof(paid, 2)
    right = paid[2]
    for wrong in (
        replace(right, owner=raw(venue.owners[0])),
        replace(right, amount=right.amount + 1),
        replace(right, id=9),
    ):
        venue.refuses("claim: proof", venue.claim(1, wrong, path, proof))
    venue.refuses("claim: proof", venue.claim(2, right, path, proof))
    venue.refuses("claim: proof", venue.claim(1, right, path ^ 1, proof))
    venue.refuses("claim: proof", venue.claim(1, right, path & 1, proof[:1]))
    venue.refuses("claim: proof", venue.claim(1, right, path, [*proof, bytes(32)]))
    venue.refuses("claim: proof", venue.claim(1, right, path, [proof[1], proof[0]]))
    venue.refuses("claim: path", venue.claim(1, right, path | 1 << 200, proof))
    venue.refuses("claim: batch unknown", venue.claim(0, right, path, proof))
    venue.refuses("claim: batch unknown", venue.claim(3, right, path, proof))
    venue.do(venue.claim(1, right, path, proof))


def test_a_batch_pays_no_more_than_it_declared(venue):
    venue.deposit(venue.owners[0], 1000)
    paid = [Withdrawal(1, raw(venue.owners[1]), 60), Withdrawal(2, raw(venue.owners[2]), 60)]
    venue.anchor(withdrawals_sum=100, withdrawals_root=withdrawals.root(paid))
    venue.do(venue.claim(1, paid[0], *withdrawals.proof(paid, 0)))
    venue.refuses("claim: more than the batch has", venue.claim(1, paid[1], *withdrawals.proof(paid, 1)))


def test_an_id_is_paid_once_whatever_batch_names_it(venue):
    venue.deposit(venue.owners[0], 1000)
    paid = [Withdrawal(7, raw(venue.owners[1]), 60)]
    root = withdrawals.root(paid)
    venue.anchor(withdrawals_sum=60, withdrawals_root=root)
    venue.anchor(withdrawals_sum=60, withdrawals_root=root)
    venue.do(venue.claim(2, paid[0], *withdrawals.proof(paid, 0)))
    venue.refuses("claim: already paid", venue.claim(1, paid[0], *withdrawals.proof(paid, 0)))


def test_nothing_can_be_claimed_of_a_batch_without_withdrawals(venue):
    venue.deposit(venue.owners[0], 1000)
    venue.anchor()
    venue.refuses("claim: proof", venue.claim(1, Withdrawal(1, raw(venue.owners[0]), 0), 0, []))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deposit"), st.integers(0, 4), st.integers(1, 10**6)),
        st.tuples(
            st.just("anchor"), st.integers(0, 10), st.lists(st.integers(0, 10), min_size=5, max_size=5)
        ),
        st.tuples(st.just("claim"), st.integers(0, 50), st.none()),
    ),
    min_size=5,
    max_size=25,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happens_everybody_can_be_paid(fresh, steps):
    venue, tester = fresh, fresh.web3.provider.ethereum_tester
    snapshot = tester.take_snapshot()
    try:
        open_claims, next_id, owed, in_claims, unconsumed = [], 1, 0, 0, 0
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
                names = ["exit_sum", "insurance", "fees", "dust", "withdrawals_sum"]
                parts[0] += free - sum(parts)
                paid = [
                    Withdrawal(next_id + i, raw(venue.owners[i]), amount)
                    for i, amount in enumerate((parts[4] // 3, parts[4] - parts[4] // 3))
                ]
                next_id += 2
                changes = dict(zip(names, parts, strict=True)) | {
                    "deposit_index": index,
                    "deposit_accumulator": venue.call.deposit_accumulators(index).call(),
                    "withdrawals_root": withdrawals.root(paid),
                }
                over = venue.header(**changes | {"exit_sum": parts[0] + 1})
                venue.refuses("anchor: insolvent", venue.call.anchor(astuple(over)))
                header = venue.anchor(**changes)
                owed = sum(parts[:4])
                in_claims += parts[4]
                open_claims += [(header.number, w, *withdrawals.proof(paid, i)) for i, w in enumerate(paid)]
            elif open_claims:
                batch, withdrawal, path, proof = open_claims.pop(number % len(open_claims))
                venue.do(venue.claim(batch, withdrawal, path, proof))
                in_claims -= withdrawal.amount
            assert venue.call.withdrawals_unclaimed().call() == in_claims
            assert venue.call.deposits_unconsumed().call() == unconsumed
            assert venue.held() == owed + in_claims + unconsumed
        for batch, withdrawal, path, proof in open_claims:
            venue.do(venue.claim(batch, withdrawal, path, proof))
        assert venue.held() == owed + unconsumed
    finally:
        tester.revert_to_snapshot(snapshot)


def test_constructor_refuses_nonsense(venue):
    settlement = contracts.load("Settlement")
    factory = venue.web3.eth.contract(abi=settlement.abi, bytecode=settlement.bytecode)
    nobody = "0x" + "00" * 20
    for reason, args in (
        ("token: no contract", (venue.owners[0], venue.operator, GENESIS, RULES)),
        ("operator: zero", (venue.token.address, nobody, GENESIS, RULES)),
    ):
        with pytest.raises(TransactionFailed, match=reason):
            factory.constructor(*args).estimate_gas({"from": venue.operator})


# Records of the log


def included(venue, proof, **changes):
    p = replace(proof, **changes)
    return venue.call.record_included(p.batch, p.record, p.leaf, p.position, p.chunk, list(p.siblings)).call()


@pytest.mark.parametrize("leaves", [1, 2, 3, 5, 7, 8, 9, 31, 33])
def test_a_record_of_any_leaf_is_included_and_nothing_else(venue, leaves):
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    slots = [rng.randbytes(24 * rng.choice([1, 2, 63, 64])) for _ in range(leaves)]
    proofs, number = [], 0
    for leaf, records in enumerate(slots):
        position = rng.randrange(len(records) // 24)
        proofs.append(prove(1, bytes(20), 1, slots, number + position))
        assert (proofs[-1].leaf, proofs[-1].position) == (leaf, position)
        number += len(records) // 24
    venue.anchor(log_root=proofs[0].log_root, log_leaves=leaves, log_records=number)
    venue.anchor(log_root=proofs[0].log_root, log_leaves=leaves + 1, log_records=number + 1)
    for proof in proofs:
        proof.check()
        assert included(venue, proof)
        assert not included(venue, proof, record=rng.randbytes(24))
        assert not included(venue, proof, chunk=proof.chunk + bytes(24) if len(proof.chunk) < 1536 else b"")
        assert not included(venue, proof, leaf=(proof.leaf + rng.randrange(1, leaves + 1)) % (leaves + 1))
        assert not included(venue, proof, siblings=(*proof.siblings, rng.randbytes(32)))
        assert not included(venue, proof, siblings=proof.siblings[1:]) or not proof.siblings
    # What was the last leaf has a longer path in a log of one leaf more, even under the same root.
    assert not included(venue, proofs[-1], batch=2)


def test_a_batch_without_records_includes_nothing(venue):
    venue.anchor(log_root=merkle.root([], 1), log_leaves=0, log_records=0)
    proof = prove(1, bytes(20), 1, [bytes(24)], 0)
    assert not included(venue, proof)
    assert not included(venue, proof, chunk=b"", leaf=0, position=0)
