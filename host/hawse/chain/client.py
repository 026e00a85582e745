"""The settlement contract, called over JSON-RPC by depositors, by the operator and by whoever claims."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from itertools import islice
from typing import Any, Self

import requests
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress, Hash32
from tiny_keccak import keccak256
from web3 import Web3
from web3.contract.contract import ContractFunction
from web3.exceptions import (
    BadResponseFormat,
    ContractLogicError,
    TimeExhausted,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)
from web3.providers.rpc.utils import REQUEST_RETRY_ALLOWLIST, ExceptionRetryConfiguration
from web3.types import BlockIdentifier, RPCEndpoint, TxReceipt

from hawse.chain import compile as contracts
from hawse.chain.abi import READING
from hawse.chain.errors import (
    AnchorConflictError,
    ChainError,
    ConnectionLostError,
    DepositMismatchError,
    NotMinedError,
    RevertedError,
)
from hawse.commit.data import ON_CHAIN, data_hash, parts_of
from hawse.commit.exits import ExitLeaf
from hawse.commit.header import BatchHeader
from hawse.commit.queues import deposit_accumulator, request_accumulator
from hawse.commit.trees import Node
from hawse.commit.withdrawals import Range, Withdrawal
from hawse.state.inputs import queued
from hawse.state.slot import Deposit, Request, RequestKind

Progress = Callable[[int, int], None]

#: Blocks asked for in one eth_getLogs; public nodes limit it.
LOG_RANGE = 5_000
#: Seconds of chain time for which a permit is good.
PERMIT_SECONDS = 3_600
#: Transactions of a bulk on their way at a time.
BULK = 64
_NOBODY = "0x" + "00" * 20
#: Owners in one ``mint_each``.
MINT = 256

_PERMIT_TYPE = keccak256(
    b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)
_DOMAIN_TYPE = keccak256(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)


@dataclass(frozen=True)
class Transaction:
    """A transaction in a block. ``gas_used`` in units of gas, ``hash`` 32 bytes."""

    hash: bytes
    block: int
    gas_used: int


@dataclass(frozen=True)
class AnchoredBatch:
    """What the contract keeps of a batch.

    ``digest`` is that of its header, ``withdrawals`` the hash of what that says of withdrawals
    (:class:`hawse.commit.withdrawals.Range`), 32 bytes each.
    """

    number: int
    digest: bytes
    withdrawals: bytes


@dataclass(frozen=True)
class Claim:
    """A withdrawal of an anchored batch, with its proof by :func:`hawse.commit.withdrawals.tree`.

    Attributes:
        batch: number of the batch.
        among: what its header says of withdrawals.
        withdrawal: that is to be paid.
        proof: siblings from the leaf up, with their sums.
    """

    batch: int
    among: Range
    withdrawal: Withdrawal
    proof: Sequence[Node]


def header_digest(header: BatchHeader, chain_id: int, settlement: bytes) -> bytes:
    """EIP-712 digest of ``header`` for the contract at the 20 bytes ``settlement``: what validators sign."""
    separator = keccak256(
        _DOMAIN_TYPE
        + keccak256(b"Hawse")
        + keccak256(b"2")
        + chain_id.to_bytes(32, "big")
        + settlement.rjust(32, b"\0")
    )
    return bytes(keccak256(b"\x19\x01" + separator + header.struct_hash()))


class SettlementReader:
    """What one settlement contract holds, over one RPC endpoint; needs no compiler. Not for several threads.

    Every method raises ``ConnectionLostError`` when the node stays unreachable through all retries,
    ``RevertedError`` with the contract's reason when it refuses, and ``ChainError`` for whatever else the
    node objects to.
    """

    def __init__(
        self,
        rpc_url: str,
        address: bytes | str,
        *,
        retries: int = 5,
        timeout: float = 120,
        abi: Sequence[dict[str, Any]] = READING,
    ) -> None:
        """Connect to a contract that is already deployed.

        Args:
            rpc_url: http or https.
            address: of the settlement contract, 20 bytes or their hex.
            retries: of a request whose connection failed, each after twice the wait of the one before.
            timeout: seconds to wait for an answer.
            abi: of the contract, or of as much of it as is called.
        """
        self._web3 = _connect(rpc_url, retries, timeout)
        self.url, self.address = rpc_url, _to_bytes(address)
        with translated("settlement"):
            self.chain_id = self._web3.eth.chain_id
            self._contract = self._web3.eth.contract(Web3.to_checksum_address(self.address), abi=abi)
            if not self._web3.eth.get_code(self._contract.address):
                raise ChainError(f"no contract at {self._contract.address} on chain {self.chain_id}")

    def anchored(self, number: int) -> AnchoredBatch:
        """What the contract has of a batch.

        Raises:
            ChainError: if there is no batch of this number; they count from 1.
        """
        batch = self._read(self._contract.functions.batches(number))
        if not any(batch[0]):
            raise ChainError(f"no batch {number} is anchored")
        return AnchoredBatch(number, batch[0], batch[1])

    def operator(self) -> bytes:
        """Who anchors, and signs receipts: 20 bytes."""
        return _to_bytes(self._read(self._contract.functions.operator()))

    def frozen(self) -> bool:
        """Whether the venue has ended."""
        return bool(self._read(self._contract.functions.frozen()))

    def last_final(self) -> int:
        """Number of the last batch that is final, 0 before the first."""
        return int(self._read(self._contract.functions.last_final()))

    def batch_count(self) -> int:
        """Batches anchored so far."""
        return int(self._read(self._contract.functions.batch_count()))

    def deposit_accumulator(self, index: int) -> bytes:
        """The accumulator after the deposit of ``index``, 32 bytes; zero at index 0."""
        return bytes(self._read(self._contract.functions.deposit_accumulators(index)))

    def digest(self, header: BatchHeader) -> bytes:
        """EIP-712 digest of a header for this contract, 32 bytes."""
        return header_digest(header, self.chain_id, self.address)

    def exit_factor(self, header: BatchHeader) -> tuple[int, int]:
        """Numerator and denominator of every exit's payout, were the batch of ``header`` the last."""
        numerator, denominator = self._read(self._contract.functions.exit_factor(astuple(header)))
        return int(numerator), int(denominator)

    def exit_payout(self, header: BatchHeader, leaf: ExitLeaf, proof: Sequence[Node]) -> int:
        """Quanta that the account of ``leaf`` would be paid, were the batch of ``header`` the last.

        ``proof`` are the siblings of its leaf by :func:`hawse.commit.exits.tree`.
        """
        terms = (leaf.index, Web3.to_checksum_address(leaf.owner), leaf.generation, leaf.equity)
        nodes = [(node.hash, *node.sums) for node in proof]
        return int(self._read(self._contract.functions.exit_payout(astuple(header), *terms, nodes)))

    def _read(self, call: ContractFunction, block: BlockIdentifier = "latest") -> Any:
        with translated(call.fn_name):
            return call.call(block_identifier=block)


class SettlementClient(SettlementReader):
    """One settlement contract behind one RPC endpoint, for all that it does. Needs the compiled contracts.

    Every method raises what those of :class:`SettlementReader` raise, and ``NotMinedError`` when a
    transaction is in no block in time.
    """

    def __init__(
        self,
        rpc_url: str,
        address: bytes | str,
        operator_key: bytes | None = None,
        *,
        first_block: int = 0,
        confirmations: int = 0,
        retries: int = 5,
        timeout: float = 120,
    ) -> None:
        """Connect to a contract that is already deployed.

        Args:
            rpc_url: http or https.
            address: of the settlement contract, 20 bytes or their hex.
            operator_key: private key, 32 bytes; only :meth:`anchor` needs it.
            first_block: before which the contract has no events.
            confirmations: blocks that must follow a deposit before :meth:`deposits_since` tells of it.
            retries: of a request whose connection failed, each after twice the wait of the one before.
            timeout: seconds to wait for an answer, and for a transaction to be in a block.
        """
        settlement = contracts.load("Settlement")
        super().__init__(rpc_url, address, retries=retries, timeout=timeout, abi=settlement.abi)
        self._timeout = timeout
        self._operator = Account.from_key(operator_key) if operator_key else None
        self._first_block = first_block
        self._confirmations = confirmations
        self._attempt: tuple[int, dict[str, int]] | None = None  # nonce and fees of the last anchor
        self._seen = (0, first_block)  # a deposit's index, and a block not after it
        self._seen_request = (0, first_block)
        with translated("settlement"):
            # The ABI of the test token: its ERC-20 and permit functions are those of every such token.
            self._token = self._web3.eth.contract(
                self._contract.functions.token().call(), abi=contracts.load("QuoteToken").abi
            )
        self.token = _to_bytes(self._token.address)

    @classmethod
    def deploy(
        cls,
        rpc_url: str,
        operator_key: bytes,
        genesis_state_root: bytes,
        rules_hash: bytes,
        token: bytes | str | None = None,
        *,
        drift: int = 86_400,
        window: int = 0,
        grace: int = 7 * 86_400,
        request_fee: int = 10**14,
        validators: Sequence[bytes] = (),
        threshold: int = 0,
        data: bool = False,
        confirmations: int = 0,
        retries: int = 5,
        timeout: float = 120,
    ) -> Self:
        """Deploy the contract from the operator's account, with a new test token where ``token`` is None.

        Args:
            rpc_url: of a node.
            operator_key: who deploys, and may anchor.
            genesis_state_root: before the first batch.
            rules_hash: of the rules in force.
            token: that pays; a new test token where it is None.
            drift: seconds, 60 to 86,400, by which a header's time may be ahead of its block's.
            window: seconds after its anchor from which a batch is final, at most 30 days.
            grace: seconds without an answer after which anybody may freeze, an hour to 90 days.
            request_fee: wei that a forced request costs.
            validators: addresses of 20 bytes that may sign batches.
            threshold: how many of them have to; with 0 the operator alone is trusted.
            data: deploy a contract for the data of batches, too, which every batch then has to have there.
            confirmations: as of the constructor; so are ``retries`` and ``timeout``.
            retries: as there.
            timeout: as there.
        """
        web3 = _connect(rpc_url, retries, timeout)
        operator = Account.from_key(operator_key)

        def create(name: str, *args: object) -> TxReceipt:
            contract = contracts.load(name)
            constructor = web3.eth.contract(abi=contract.abi, bytecode=contract.bytecode).constructor(*args)
            with translated(name):
                return _send(web3, operator, {"data": constructor.data_in_transaction}, name, timeout)

        quote = _to_bytes(token or create("QuoteToken")["contractAddress"])
        provider = create("BatchData")["contractAddress"] if data else _NOBODY
        receipt = create(
            "Settlement",
            Web3.to_checksum_address(quote),
            operator.address,
            genesis_state_root,
            rules_hash,
            drift,
            window,
            grace,
            request_fee,
            [Web3.to_checksum_address(validator) for validator in sorted(validators)],
            threshold,
            provider,
        )
        return cls(
            rpc_url,
            _to_bytes(receipt["contractAddress"]),
            operator_key,
            first_block=receipt["blockNumber"],
            confirmations=confirmations,
            retries=retries,
            timeout=timeout,
        )

    # ---- Deposits

    def mint(self, minter_key: bytes, owners: Sequence[bytes], amount: int) -> None:
        """Mint ``amount`` quanta of the test token to each of ``owners`` (20 bytes)."""
        addresses = [Web3.to_checksum_address(owner) for owner in owners]
        for first in range(0, len(addresses), MINT):
            some = addresses[first : first + MINT]
            self._transact(
                Account.from_key(minter_key), self._token.functions.mint_each(some, amount), "mint"
            )

    def token_balance(self, owner: bytes) -> int:
        """Quanta of the quote token that ``owner`` (20 bytes) has outside the contract."""
        return int(self._read(self._token.functions.balanceOf(Web3.to_checksum_address(owner))))

    def deposit(self, key: bytes, amount: int) -> Deposit:
        """Deposit ``amount`` quanta from the account of a private key: permit and deposit in one."""
        return self.deposit_all([(key, amount)])[0]

    def deposit_all(
        self, wanted: Sequence[tuple[bytes, int]], progress: Progress | None = None
    ) -> list[Deposit]:
        """Make many deposits, each of (private key, quanta), some at a time and in this order.

        ``progress`` is called with (deposits made, all) as they come in. When one fails, those before it
        and some behind it are made all the same: ask :meth:`deposits_since`.
        """
        made: list[Deposit] = []
        with translated("deposit"):
            separator = bytes(self._token.functions.DOMAIN_SEPARATOR().call())
            nonces: dict[str, int] = {}

            def calls() -> Iterator[tuple[LocalAccount, ContractFunction]]:
                for n, (key, amount) in enumerate(wanted):
                    if n % BULK == 0:
                        deadline = _fees(self._web3)[1] + PERMIT_SECONDS
                    account = Account.from_key(key)
                    if account.address not in nonces:
                        nonces[account.address] = int(self._token.functions.nonces(account.address).call())
                    permit = self._permit(account, amount, nonces[account.address], deadline, separator)
                    nonces[account.address] += 1
                    yield account, self._contract.functions.deposit_with_permit(amount, *permit)

            for receipt in self._bulk("deposit", calls()):
                made += [d for d, _, _ in self._deposit_events(receipt["logs"])]
                if progress:
                    progress(len(made), len(wanted))
        return made

    def _permit(
        self, owner: LocalAccount, amount: int, nonce: int, deadline: int, separator: bytes
    ) -> tuple[int, int, bytes, bytes]:
        """The last four arguments of ``deposit_with_permit``: an EIP-2612 signature and its deadline."""
        words = [int(owner.address, 16), int.from_bytes(self.address, "big"), amount, nonce, deadline]
        struct = keccak256(_PERMIT_TYPE + b"".join(word.to_bytes(32, "big") for word in words))
        signed = owner.unsafe_sign_hash(Hash32(keccak256(b"\x19\x01" + separator + struct)))
        return deadline, signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")

    def _deposit_events(self, logs: Sequence[Any]) -> list[tuple[Deposit, bytes, int]]:
        """(deposit, accumulator, block) of each deposit event of this contract among ``logs``."""
        event = self._contract.events.Deposit()
        topic, found = bytes(keccak256(b"Deposit(uint64,address,uint256,bytes32)")), []
        for log in logs:
            if _to_bytes(log["address"]) == self.address and bytes(log["topics"][0]) == topic:
                seen = event.process_log(log)
                args = seen["args"]
                deposit = Deposit(args["index"], _to_bytes(args["owner"]), args["amount"])
                found.append((deposit, bytes(args["accumulator"]), seen["blockNumber"]))
        return found

    def deposits_since(self, index: int, known: bytes | None = None) -> list[Deposit]:
        """All confirmed deposits after the one of ``index`` (0: all), checked against the accumulator.

        ``known`` is the accumulator behind that one, as it was seen; else it is the contract's.

        Raises:
            DepositMismatchError: if the events do not chain to the contract's accumulator, or the chain has
                fewer than ``index`` deposits: a node that hides events, or a reorganisation.
        """
        with translated("deposits"):
            head = self._web3.eth.block_number - self._confirmations
            if head < self._first_block:
                return []
            count = int(self._contract.functions.deposit_count().call(block_identifier=head))
            if count < index:
                raise DepositMismatchError(f"the chain has {count} deposits, not the {index} that were seen")
            accumulators = self._contract.functions.deposit_accumulators
            value = bytes(accumulators(index).call(block_identifier=head))
            if known is not None and value != known:
                raise DepositMismatchError(f"deposit {index} is another than the one that was seen")
            if count == index:
                return []
            final = bytes(accumulators(count).call(block_identifier=head))
            deposits: list[Deposit] = []
            block = self._seen[1] if index >= self._seen[0] else self._first_block
            for log_range in block_ranges(block, head):
                for deposit, accumulator, at in self._deposit_events(self._logs("Deposit", log_range)):
                    if deposit.index <= index:
                        continue
                    value = deposit_accumulator(value, deposit.index, deposit.owner, deposit.amount)
                    if deposit.index != index + len(deposits) + 1 or accumulator != value:
                        raise DepositMismatchError(f"deposit {deposit.index} in block {at} does not chain")
                    deposits.append(deposit)
                    block = at
            if len(deposits) != count - index or value != final:
                raise DepositMismatchError(
                    f"{len(deposits)} deposits after {index}, but the contract has {count - index}"
                )
            self._seen = (count, block)
            return deposits

    def _logs(self, event: str, blocks: tuple[int, int], topics: Sequence[str] = ()) -> list[Any]:
        """Events within blocks, the last included; a node that finds them too many is asked for half."""
        signature = self._contract.events[event]().topic
        return self._logs_of(self._contract.address, signature, blocks, topics)

    def _logs_of(
        self, address: ChecksumAddress, signature: str, blocks: tuple[int, int], topics: Sequence[str] = ()
    ) -> list[Any]:
        first, last = blocks
        try:
            return list(
                self._web3.eth.get_logs(
                    {
                        "address": address,
                        "fromBlock": first,
                        "toBlock": last,
                        "topics": [signature, *topics],
                    }
                )
            )
        except Web3RPCError:
            if first == last:
                raise
            middle = (first + last) // 2
            halves = (first, middle), (middle + 1, last)
            return [log for half in halves for log in self._logs_of(address, signature, half, topics)]

    # ---- Requests

    def request(
        self,
        key: bytes,
        kind: RequestKind,
        account: int,
        generation: int,
        *,
        amount: int = 0,
        agent: bytes = bytes(20),
        expiry: int = 0,
    ) -> Request:
        """Put a request into the queue; the owner is he whose private key this is, and he pays the fee.

        ``amount`` is of a withdrawal, in quanta; ``agent`` and ``expiry`` are of an appointment, in
        milliseconds since 1970, 0 to revoke it.
        """
        terms = (int(kind), account, generation, amount, Web3.to_checksum_address(agent), expiry)
        fee = int(self._read(self._contract.functions.request_fee()))
        call = self._contract.functions.request(*terms)
        receipt = self._transact(Account.from_key(key), call, "request", value=fee)
        ((made, _, _),) = self._request_events(receipt["logs"])
        return made

    def _request_events(self, logs: Sequence[Any]) -> list[tuple[Request, bytes, int]]:
        """(request, accumulator, block) of each request of this contract among ``logs``."""
        event, found = self._contract.events.Requested(), []
        for log in logs:
            if _to_bytes(log["address"]) == self.address and _hex(log["topics"][0]) == event.topic:
                seen = event.process_log(log)
                a = seen["args"]
                people: dict[str, Any] = {name: _to_bytes(a[name]) for name in ("owner", "agent")}
                numbers = {name: a[name] for name in ("account", "generation", "amount", "expiry", "time")}
                request = Request(a["number"], RequestKind(a["kind"]), **people, **numbers)
                found.append((request, bytes(a["accumulator"]), seen["blockNumber"]))
        return found

    def requests_since(self, index: int, known: bytes | None = None) -> list[Request]:
        """All confirmed requests behind the one of ``index`` (0: all), checked against the accumulator.

        ``known`` is as in :meth:`deposits_since`.

        Raises:
            DepositMismatchError: as :meth:`deposits_since`.
        """
        with translated("requests"):
            head = self._web3.eth.block_number - self._confirmations
            if head < self._first_block:
                return []
            count = int(self._contract.functions.request_count().call(block_identifier=head))
            if count < index:
                raise DepositMismatchError(f"the chain has {count} requests, not the {index} that were seen")
            accumulators = self._contract.functions.request_accumulators
            value = bytes(accumulators(index).call(block_identifier=head))
            if known is not None and value != known:
                raise DepositMismatchError(f"request {index} is another than the one that was seen")
            found: list[Request] = []
            block = self._seen_request[1] if index >= self._seen_request[0] else self._first_block
            for log_range in block_ranges(block, head) if count > index else ():
                for request, accumulator, at in self._request_events(self._logs("Requested", log_range)):
                    if request.index <= index:
                        continue
                    value = request_accumulator(value, queued(request))
                    if request.index != index + len(found) + 1 or accumulator != value:
                        raise DepositMismatchError(f"request {request.index} in block {at} does not chain")
                    found.append(request)
                    block = at
            if len(found) != count - index:
                raise DepositMismatchError(
                    f"{len(found)} requests behind {index}, but the contract has {count - index}"
                )
            if found:
                self._seen_request = (count, block)
            return found

    # ---- The way out without the operator

    def is_validator(self, address: bytes) -> bool:
        """Whether an address (20 bytes) may sign batches."""
        return bool(self._read(self._contract.functions.is_validator(Web3.to_checksum_address(address))))

    def terms(self) -> dict[str, int]:
        """As deployed: ``window``, ``grace``, ``drift`` in seconds, ``request_fee`` in wei, ``threshold``."""
        names = ("window", "grace", "drift", "request_fee", "threshold")
        return {name: int(self._read(self._contract.functions[name]())) for name in names}

    def is_silent(self) -> bool:
        """Whether nothing was anchored for a quarter of the time after which anybody may freeze."""
        call = self._contract.functions
        grace, since = (int(self._read(one())) for one in (call.grace, call.anchored_at))
        return self.chain_time() > since + grace // 4

    def freezable_at(self) -> int:
        """Seconds since 1970 of chain time behind which anybody may freeze, as things stand."""
        call = self._contract.functions
        grace, since = (int(self._read(one())) for one in (call.grace, call.anchored_at))
        head = int(self._read(call.requests_taken())) + 1
        if head <= int(self._read(call.request_count())):
            since = min(since, int(self._read(call.request_times(head))))
        return since + grace

    def freeze(self, key: bytes) -> Transaction:
        """End the venue, whose operator does not answer; ``key`` pays the gas."""
        return _transaction(
            self._transact(Account.from_key(key), self._contract.functions.freeze(), "freeze")
        )

    def exit(self, key: bytes, header: BatchHeader, leaf: ExitLeaf, proof: Sequence[Node]) -> Transaction:
        """Have an account of the last final batch of a frozen venue paid; ``key`` pays the gas."""
        call = self._exit(header, leaf, proof)
        return _transaction(self._transact(Account.from_key(key), call, f"exit of account {leaf.index}"))

    def exit_all(
        self,
        key: bytes,
        header: BatchHeader,
        wanted: Sequence[tuple[ExitLeaf, Sequence[Node]]],
        progress: Progress | None = None,
    ) -> None:
        """Have many accounts paid, each by its leaf and siblings, some at a time and in this order.

        ``progress`` is called with (accounts paid, all). When one fails, those before it and some behind it
        are paid all the same.
        """
        sender = Account.from_key(key)
        calls = ((sender, self._exit(header, leaf, proof)) for leaf, proof in wanted)
        with translated("exit"):
            for n, _ in enumerate(self._bulk("exit", calls), 1):
                if progress:
                    progress(n, len(wanted))

    def _exit(self, header: BatchHeader, leaf: ExitLeaf, proof: Sequence[Node]) -> ContractFunction:
        terms = (leaf.index, Web3.to_checksum_address(leaf.owner), leaf.generation, leaf.equity)
        nodes = [(node.hash, *node.sums) for node in proof]
        return self._contract.functions.exit(astuple(header), *terms, nodes)

    def deposits_consumed(self) -> int:
        """Index of the last deposit that a batch has booked."""
        return int(self._read(self._contract.functions.deposits_consumed()))

    def refunded(self, deposit: Deposit) -> bool:
        """Whether a deposit has been paid back."""
        return bool(self._read(self._contract.functions.is_refunded(deposit.index)))

    def refund(self, key: bytes, deposit: Deposit) -> Transaction:
        """Have a deposit paid back that the last final batch of a frozen venue has not consumed."""
        call = self._contract.functions.refund(
            deposit.index, Web3.to_checksum_address(deposit.owner), deposit.amount
        )
        return _transaction(self._transact(Account.from_key(key), call, f"refund of deposit {deposit.index}"))

    # ---- Batches

    def post(self, data: bytes) -> int:
        """Post the data of a batch, as much of it as is not there; returns the gas that it took.

        Raises:
            ChainError: the contract wants no data, or the client has no operator key.
        """
        contract = self._data_contract()
        if contract is None or self._operator is None:
            raise ChainError(
                "data is posted by the operator, for a contract that was deployed with a place for it"
            )
        gas, behind = 0, bytes(32)
        for part in parts_of(data):
            before, behind = behind, data_hash([part], behind)
            if not self._read(contract.functions.posted(behind)):
                call = contract.functions.post(before, part)
                gas += self._transact(self._operator, call, "post a batch's data")["gasUsed"]
        return gas

    def takes_data(self) -> bool:
        """Whether every batch has to have its data on the chain."""
        return bool(int(self._read(self._contract.functions.data()), 16))

    def _data_contract(self) -> Any:
        """Where data is posted, None where it is not."""
        if not self.takes_data():
            return None
        address = self._read(self._contract.functions.data())
        return self._web3.eth.contract(address, abi=contracts.load("BatchData").abi)

    def anchor(
        self, header: BatchHeader, signatures: Mapping[bytes, bytes] | None = None, data: bytes = b""
    ) -> Transaction:
        """Anchor a batch; if this very header is anchored already, return the transaction that did.

        Args:
            header: of the batch.
            signatures: of its digest, 64 bytes each, by validator (20 bytes).
            data: that its header names; posted first, where it is not yet.

        Raises:
            AnchorConflictError: if another header has its number.
            ChainError: if the client has no operator key.
        """
        if self._operator is None:
            raise ChainError("anchoring needs the operator's key")
        what = f"anchor batch {header.number}"
        done = self._anchored_as(header)
        if done:
            return done
        signed = [(s[:32], s[32:]) for _, s in sorted((signatures or {}).items())]
        if header.data_provider == ON_CHAIN:
            self.post(data)
        call = self._contract.functions.anchor(astuple(header), signed)
        try:
            receipt = self._send_anchor(self._operator, call, what)
        except ChainError:
            # An earlier attempt whose answer was lost may have got there meanwhile.
            done = self._anchored_as(header)
            if done:
                return done
            raise
        return _transaction(receipt)

    def _send_anchor(self, operator: LocalAccount, call: ContractFunction, what: str) -> TxReceipt:
        with translated(what):
            # The first nonce that is in no block: an attempt that is stuck is replaced, not queued behind.
            nonce = self._web3.eth.get_transaction_count(operator.address, "latest")
            fees, _ = _fees(self._web3)
            if self._attempt and self._attempt[0] == nonce:
                # Nodes want an eighth more for a replacement.
                fees = {
                    name: max(fee, self._attempt[1].get(name, 0) * 9 // 8 + 1) for name, fee in fees.items()
                }
            self._attempt = (nonce, fees)
            return self._transact(operator, call, what, nonce=nonce, **fees)

    def _anchored_as(self, header: BatchHeader) -> Transaction | None:
        if header.number > self.batch_count() or header.number == 0:
            return None
        there, ours = self.anchored(header.number).digest, self.digest(header)
        if there != ours:
            raise AnchorConflictError(f"batch {header.number} is anchored as {there.hex()}, not {ours.hex()}")
        topic = "0x" + header.number.to_bytes(32, "big").hex()
        with translated("anchor"):
            # Newest first: an anchor that is asked for again is a recent one.
            for blocks in reversed(list(block_ranges(self._first_block, self._web3.eth.block_number))):
                for log in self._logs("Anchored", blocks, [topic]):
                    return _transaction(self._web3.eth.get_transaction_receipt(log["transactionHash"]))
        raise ChainError(f"batch {header.number} is anchored, but the node has no event of it")

    def state_root(self) -> bytes:
        """State root of the last batch, 32 bytes; the genesis root before the first."""
        return bytes(self._read(self._contract.functions.state_root()))

    def collateral_locked(self) -> int:
        """Quanta that the contract holds."""
        return int(self._read(self._contract.functions.balance_held()))

    def deposit_count(self) -> int:
        """Deposits made so far, confirmed or not."""
        return int(self._read(self._contract.functions.deposit_count()))

    def assets_hash(self) -> bytes:
        """Hash of the list of assets that every header must name, 32 bytes."""
        return bytes(self._read(self._contract.functions.assets_hash()))

    # ---- Time

    def chain_time(self) -> int:
        """Seconds since 1970 of the newest block."""
        with translated("chain time"):
            return int(self._web3.eth.get_block("latest")["timestamp"])

    def move_clock(self, to: int) -> None:
        """Move a development chain's clock on to ``to``, seconds since 1970, by a block of that time.

        Its clock goes on from there. Nothing happens where the chain is there already. An anchor needs it
        where its batch is ahead of the clock, and where no block was made for long: a node that makes blocks
        for transactions only estimates one in the block before it.

        Raises:
            ChainError: if the node is no development chain.
        """
        if self.chain_time() >= to:
            return
        for method, parameters in (("evm_setNextBlockTimestamp", [to]), ("evm_mine", [])):
            with translated(method):
                answer = self._web3.provider.make_request(RPCEndpoint(method), parameters)
            if "error" in answer:
                raise ChainError(f"{method}: {answer['error']}")

    # ---- Withdrawals

    def claim(self, key: bytes, claim: Claim) -> Transaction:
        """Have a withdrawal of an anchored batch paid to its owner; ``key`` pays the gas."""
        what = f"claim withdrawal {claim.withdrawal.id}"
        return _transaction(self._transact(Account.from_key(key), self._claim(claim), what))

    def claim_all(
        self, wanted: Sequence[tuple[bytes, Claim]], progress: Progress | None = None
    ) -> list[Transaction]:
        """Claim many withdrawals, each with the key that pays its gas, some at a time and in this order.

        ``progress`` is called with (claims paid, all). When one fails, those before it and some behind it are
        paid all the same: ask :meth:`claimed`.
        """
        paid: list[Transaction] = []
        with translated("claim"):
            calls = ((Account.from_key(key), self._claim(claim)) for key, claim in wanted)
            for receipt in self._bulk("claim", calls):
                paid.append(_transaction(receipt))
                if progress:
                    progress(len(paid), len(wanted))
        return paid

    def _claim(self, claim: Claim) -> ContractFunction:
        due = claim.withdrawal
        owner = Web3.to_checksum_address(due.owner)
        nodes = [(node.hash, *node.sums) for node in claim.proof]
        terms = (claim.batch, astuple(claim.among), due.id, owner, due.amount, nodes)
        return self._contract.functions.claim(*terms)

    def claimed(self, id: int) -> bool:
        """Whether the withdrawal of an id has been paid."""
        return bool(self._read(self._contract.functions.claimed(id)))

    # ---- Calls and transactions

    def _transact(self, account: LocalAccount, call: ContractFunction, what: str, **fields: int) -> TxReceipt:
        with translated(what):
            data = {"to": call.address, "data": call._encode_transaction_data(), **fields}
            receipt = _send(self._web3, account, data, what, self._timeout)
            if not receipt["status"]:
                raise RevertedError(what, _reason(call, account, receipt["blockNumber"]))
            return receipt

    def _bulk(self, what: str, calls: Iterator[tuple[LocalAccount, ContractFunction]]) -> Iterator[TxReceipt]:
        """Send calls that are alike, ``BULK`` of them at a time, and yield their receipts in order."""
        nonces: dict[str, int] = {}
        gas = None
        while some := list(islice(calls, BULK)):
            fees, _ = _fees(self._web3)
            sent = []
            for account, call in some:
                if account.address not in nonces:
                    count = self._web3.eth.get_transaction_count(account.address, "pending")
                    nonces[account.address] = count
                if gas is None:
                    # They are alike, so the first one's estimate with a margin does for all.
                    gas = call.estimate_gas({"from": account.address}) * 3 // 2
                transaction = {
                    "to": self._contract.address,
                    "data": call._encode_transaction_data(),
                    "value": 0,
                    "nonce": nonces[account.address],
                    "gas": gas,
                    "chainId": self.chain_id,
                    **fees,
                }
                sent.append((_submit(self._web3, account, transaction), account, call))
                nonces[account.address] += 1
            for hash_, account, call in sent:
                receipt = _wait(self._web3, hash_, what, self._timeout)
                if not receipt["status"]:
                    raise RevertedError(what, _reason(call, account, receipt["blockNumber"]))
                yield receipt


def _connect(rpc_url: str, retries: int, timeout: float) -> Web3:
    if not rpc_url.startswith(("http://", "https://")):
        raise ChainError(f"{rpc_url!r} is not an http or https URL")
    retrying = ExceptionRetryConfiguration(
        errors=(requests.ConnectionError, requests.Timeout, requests.HTTPError),
        retries=retries,
        backoff_factor=0.125,
        method_allowlist=REQUEST_RETRY_ALLOWLIST,
    )
    provider = Web3.HTTPProvider(
        rpc_url,
        {"timeout": timeout},
        exception_retry_configuration=retrying,
        # web3 asks for the chain's id before every call; one question in two is saved.
        cache_allowed_requests=True,
        cacheable_requests={RPCEndpoint("eth_chainId")},
    )
    return Web3(provider)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the errors of web3 and of the connection into those of this package."""
    try:
        yield
    except ContractLogicError as error:
        raise RevertedError(what, _reason_of(error)) from error
    except (requests.RequestException, BadResponseFormat) as error:
        raise ConnectionLostError(f"{what}: {error}") from error
    except TimeExhausted as error:
        raise NotMinedError(f"{what}: {error}") from error
    except (Web3Exception, ValueError) as error:
        raise ChainError(f"{what}: {error}") from error


def _reason_of(error: ContractLogicError) -> str:
    message = (error.message or "").removeprefix("execution reverted").removeprefix(": ")
    return "" if message in ("", "no data") or message.startswith("0x") else message


def _reason(call: ContractFunction, account: LocalAccount, block: int) -> str:
    """Why a transaction that is in a block was reverted: by calling it on the state before that block."""
    try:
        call.call({"from": account.address}, block_identifier=block - 1)
    except ContractLogicError as error:
        return _reason_of(error)
    return ""


def _fees(web3: Web3) -> tuple[dict[str, int], int]:
    """Fee fields for a transaction now, and the chain's time in seconds."""
    block = web3.eth.get_block("latest")
    if "baseFeePerGas" not in block:
        return {"gasPrice": web3.eth.gas_price}, block["timestamp"]
    tip = web3.eth.max_priority_fee
    return {"maxFeePerGas": 2 * block["baseFeePerGas"] + tip, "maxPriorityFeePerGas": tip}, block["timestamp"]


def _send(web3: Web3, account: LocalAccount, fields: dict[str, Any], what: str, timeout: float) -> TxReceipt:
    if "nonce" not in fields:
        nonce = web3.eth.get_transaction_count(account.address, "pending")
        fields = {"nonce": nonce, **_fees(web3)[0], **fields}
    transaction = {"chainId": web3.eth.chain_id, "value": 0, **fields}
    call = {"from": account.address, **{k: v for k, v in fields.items() if k in ("to", "data", "value")}}
    transaction["gas"] = web3.eth.estimate_gas(call) * 5 // 4  # type: ignore[arg-type]
    return _wait(web3, _submit(web3, account, transaction), what, timeout)


def _submit(web3: Web3, account: LocalAccount, transaction: dict[str, Any]) -> bytes:
    signed = account.sign_transaction(transaction)
    try:
        web3.eth.send_raw_transaction(signed.raw_transaction)
    except Web3RPCError:
        # The retry of a request whose answer was lost is refused as known or as an old nonce.
        try:
            web3.eth.get_transaction(signed.hash)
        except TransactionNotFound:
            pass
        else:
            return bytes(signed.hash)
        raise
    return bytes(signed.hash)


def _wait(web3: Web3, hash_: bytes, what: str, timeout: float) -> TxReceipt:
    """The receipt of a transaction, asked for at growing intervals."""
    end, pause = time.monotonic() + timeout, 0.002
    while True:
        try:
            return web3.eth.get_transaction_receipt(hash_)  # type: ignore[arg-type]
        except TransactionNotFound:
            if time.monotonic() > end:
                raise NotMinedError(f"{what}: transaction {hash_.hex()} is in no block yet") from None
        time.sleep(pause)
        pause = min(2 * pause, 1)


def _transaction(receipt: TxReceipt) -> Transaction:
    return Transaction(bytes(receipt["transactionHash"]), receipt["blockNumber"], receipt["gasUsed"])


def block_ranges(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Blocks from the first to the last, in pieces that a public node gives events of."""
    for start in range(first, last + 1, LOG_RANGE):
        yield start, min(start + LOG_RANGE - 1, last)


def _hex(topic: Any) -> str:
    return "0x" + bytes(topic).hex()


def _to_bytes(address: bytes | str | None) -> bytes:
    data = bytes.fromhex(address.removeprefix("0x")) if isinstance(address, str) else bytes(address or b"")
    if len(data) != 20:
        raise ChainError(f"{address!r} is not an address of 20 bytes")
    return data
