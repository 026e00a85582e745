"""A settlement contract on an EVM in this process, and the headers that would continue it."""

from dataclasses import astuple
from pathlib import Path

import pytest
from eth_account import Account
from eth_tester.exceptions import TransactionFailed
from hawse.chain import compile as contracts
from hawse.commit import withdrawals
from hawse.commit.withdrawals import Withdrawal
from hawse.keys.signing import sign_digest
from hawse.keys.store import address_of
from support import headers
from support.headers import GENESIS, RULES
from web3 import Web3

TOKENS = Path(__file__).parents[1] / "contracts" / "tokens"
FUNDS = 10**12
DRIFT = 600
GRACE = 7 * 86_400
FEE = 10**14


def raw(address):
    return bytes.fromhex(address[2:])


class Venue:
    """A settlement contract on an EVM in this process, and the headers that would continue it."""

    def __init__(self, web3, token="QuoteToken", window=0, validators=(), threshold=0, data=False):
        self.web3, self.threshold = web3, threshold
        #: Keys of validators, ascending by address.
        self.validators = sorted(validators, key=address_of)
        # eth-tester's accounts have the private keys 1, 2, ...
        self.operator, *self.owners = web3.eth.accounts[:6]
        keys = [i.to_bytes(32, "big") for i in range(1, 7)]
        self.keys = {Account.from_key(key).address: key for key in keys}
        source = contracts.folder() if token == "QuoteToken" else TOKENS
        self.token = self.create(contracts.compile_file(source / f"{token}.vy"))
        self.data = self.create(contracts.load("BatchData")) if data else None
        self.contract = self.create(
            contracts.load("Settlement"),
            self.token.address,
            self.operator,
            GENESIS,
            RULES,
            *(DRIFT, window, GRACE, FEE),
            [Web3.to_checksum_address(address_of(key)) for key in self.validators],
            threshold,
            self.data.address if data else "0x" + "00" * 20,
        )
        for owner in self.owners:
            self.do(self.token.functions.mint(owner, FUNDS))
            if token == "QuoteToken":
                self.do(self.token.functions.approve(self.contract.address, FUNDS), owner)
        self.call = self.contract.functions
        self.log_proofs = self.create(contracts.load("LogProofs"))
        self.assets_hash = self.call.assets_hash().call()
        self.anchored = {}  # by number; those beyond the contract's count were anchored in another test

    def create(self, contract, *args):
        made = self.web3.eth.contract(abi=contract.abi, bytecode=contract.bytecode).constructor(*args)
        hash_ = made.transact({"from": self.operator, "gas": 6_000_000})
        return self.web3.eth.contract(
            self.web3.eth.get_transaction_receipt(hash_)["contractAddress"], abi=contract.abi
        )

    def do(self, call, sender=None, value=0):
        hash_ = call.transact({"from": sender or self.operator, "gas": 2_000_000, "value": value})
        receipt = self.web3.eth.get_transaction_receipt(hash_)
        if receipt["status"] != 1:
            raise TransactionFailed(call.fn_name)
        return receipt

    def refuses(self, reason, call, sender=None, value=0):
        with pytest.raises(TransactionFailed) as failure:
            call.call({"from": sender or self.operator, "value": value})
        assert str(failure.value) == f"execution reverted: {reason}"

    def deposit(self, owner, amount):
        return self.do(self.call.deposit(amount), owner)

    def balance(self, owner):
        return self.token.functions.balanceOf(owner).call()

    def held(self):
        return self.call.balance_held().call()

    def now(self):
        """Seconds of chain time."""
        return self.web3.eth.get_block("latest")["timestamp"]

    def wait(self, seconds):
        """Let chain time pass."""
        tester = self.web3.provider.ethereum_tester
        tester.time_travel(self.now() + seconds)
        tester.mine_block()

    def header(self, **changes):
        """A header that continues the chain, consumes every deposit and owes nobody anything."""
        last, count = self.anchored.get(self.call.batch_count().call()), self.call.deposit_count().call()
        first = last.journal_last + 1 if last else 0
        number = last.number + 1 if last else 1
        values = {
            "number": number,
            "previous_state_root": last.state_root if last else GENESIS,
            "state_root": number.to_bytes(32, "big"),
            "inputs_first": last.inputs_first + last.inputs_count if last else 1,
            "withdrawals_first": self.call.next_withdrawal().call(),
            "forced_index": (taken := self.call.requests_taken().call()),
            "forced_accumulator": self.call.request_accumulators(taken).call(),
            "deposit_index": count,
            "deposit_accumulator": self.call.deposit_accumulators(count).call(),
            "assets_hash": self.assets_hash,
            "journal_first": first,
            "journal_last": first + 9,
            "time": max(1000 * self.now(), last.time if last else 0),
        }
        return headers.header(**values | changes)

    def anchor(self, **changes):
        return self.send(self.header(**changes))[0]

    def anchoring(self, header, signatures=None):
        """The call; by default signed by as many validators as there have to be."""
        if signatures is None:
            digest = bytes(self.call.digest(astuple(header)).call())
            signatures = [sign_digest(digest, key) for key in self.validators[: self.threshold]]
        return self.call.anchor(astuple(header), [(s[:32], s[32:]) for s in signatures])

    def send(self, header):
        """The header, anchored, and its receipt."""
        receipt = self.do(self.anchoring(header))
        self.anchored[header.number] = header
        return header, receipt

    def anchor_paying(self, *due, **changes):
        """A batch with a withdrawal of each (owner, amount); a function that makes the claim of each."""
        first = self.call.next_withdrawal().call()
        paid = [Withdrawal(first + n, raw(owner), 0, amount) for n, (owner, amount) in enumerate(due)]
        among = withdrawals.range_of(paid, first)
        header = self.anchor(**headers.withdrawals(among) | changes)
        tree = withdrawals.tree(paid)
        return [self.claim(header.number, among, w, tree.proof(n)) for n, w in enumerate(paid)]

    def claim(self, batch, among, withdrawal, proof):
        owner = Web3.to_checksum_address(withdrawal.owner)
        nodes = [(node.hash, *node.sums) for node in proof]
        return self.call.claim(batch, astuple(among), withdrawal.id, owner, withdrawal.amount, nodes)
