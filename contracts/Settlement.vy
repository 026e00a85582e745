# pragma version 0.4.3
"""
@title Settlement of a Hawse venue
@license Apache-2.0
@notice Holds the collateral of a venue that trades off-chain. Deposits are numbered and chained in a hash
        accumulator; the operator anchors batches, each continuing the one before it; withdrawals of an
        anchored batch are paid to their owners by proof.
@dev The bytes behind each hash are those of docs/commitments.md. Money is in token units, one unit being one
     quantum (a quote token of 6 decimals). Invariants:
     1. Every anchored batch has the number, previous state root and first journal slot that continue the last.
     2. At every anchor, and so until the next: exit sum + insurance + fees + dust + withdrawals not yet
        claimed + deposits not yet consumed <= balance of the token held here.
     3. A withdrawal id is paid at most once, to its owner only, and the withdrawals of a batch never take more
        than the sum that the batch declared. So no claim can eat into what others are owed.
     4. The deposit accumulator of an index never changes; a batch consumes a prefix of the deposits, and
        never gives one back.
     5. Tokens leave by `claim` alone.
"""

from ethereum.ercs import IERC20


interface IERC20Permit:
    def allowance(owner: address, spender: address) -> uint256: view
    def permit(
        owner: address, spender: address, amount: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32
    ): nonpayable


struct BatchHeader:
    version: uint16
    number: uint64
    previous_state_root: bytes32
    state_root: bytes32
    exit_root: bytes32
    exit_sum: uint256
    exit_numerator: uint256
    exit_denominator: uint256
    log_root: bytes32
    log_leaves: uint64
    log_records: uint64
    outcomes_root: bytes32
    withdrawals_root: bytes32
    withdrawals_sum: uint256
    deposit_index: uint64
    deposit_accumulator: bytes32
    forced_index: uint64
    forced_accumulator: bytes32
    data_hash: bytes32
    data_provider: bytes32
    rules_hash: bytes32
    journal_first: uint64
    journal_last: uint64
    journal_hash: bytes32
    insurance: uint256
    fees: uint256
    dust: uint256
    time: uint64


struct Batch:
    digest: bytes32
    state_root: bytes32
    exit_root: bytes32
    log_root: bytes32
    log_leaves: uint64
    log_records: uint64
    withdrawals_root: bytes32
    withdrawals_remaining: uint256


event Deposit:
    index: indexed(uint64)
    owner: indexed(address)
    amount: uint256
    accumulator: bytes32


event Anchored:
    number: indexed(uint64)
    state_root: bytes32
    log_root: bytes32
    digest: bytes32


event Claimed:
    batch: indexed(uint64)
    id: indexed(uint64)
    owner: indexed(address)
    amount: uint256


VERSION: constant(uint16) = 1
#: All deposits together stay within the int64 of the state machine's money.
MAX_QUANTA: constant(uint256) = 2**63 - 1
#: Deep enough for 2**64 withdrawals of one batch.
MAX_PROOF: constant(uint256) = 64
#: Bytes of a record of the report log, and of a full chunk of them.
RECORD: constant(uint256) = 24
CHUNK: constant(uint256) = 64 * RECORD

_DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_HEADER_TYPE: constant(bytes32) = keccak256(
    "BatchHeader(uint16 version,uint64 number,bytes32 previous_state_root,bytes32 state_root,bytes32 exit_root,uint256 exit_sum,uint256 exit_numerator,uint256 exit_denominator,bytes32 log_root,uint64 log_leaves,uint64 log_records,bytes32 outcomes_root,bytes32 withdrawals_root,uint256 withdrawals_sum,uint64 deposit_index,bytes32 deposit_accumulator,uint64 forced_index,bytes32 forced_accumulator,bytes32 data_hash,bytes32 data_provider,bytes32 rules_hash,uint64 journal_first,uint64 journal_last,bytes32 journal_hash,uint256 insurance,uint256 fees,uint256 dust,uint64 time)"
)

#: The token that pays; the only one held.
token: public(immutable(address))
#: The only one who may anchor.
operator: public(immutable(address))
#: Hash of the transition rules that every batch must name.
rules_hash: public(immutable(bytes32))

#: Deposits so far; their indices run from 1 to this.
deposit_count: public(uint64)
#: Accumulator after the deposit of an index; zero at index 0.
deposit_accumulators: public(HashMap[uint64, bytes32])
#: Sum of all deposits up to and including an index.
deposit_totals: public(HashMap[uint64, uint256])

#: Batches so far; their numbers run from 1 to this.
batch_count: public(uint64)
#: What claims and verifiers need of each batch.
batches: public(HashMap[uint64, Batch])
#: State root of the last batch; the genesis root before the first.
state_root: public(bytes32)
#: Index of the last deposit that a batch has consumed.
deposits_consumed: public(uint64)
#: Slot number with which the next batch must begin.
next_slot: public(uint64)
#: Time of the last batch, milliseconds since 1970.
last_time: public(uint64)

#: Withdrawals of all batches that are not claimed yet.
withdrawals_unclaimed: public(uint256)
#: Whether the withdrawal of an id has been paid.
claimed: public(HashMap[uint64, bool])


@deploy
def __init__(token_: address, operator_: address, genesis_state_root: bytes32, rules_hash_: bytes32):
    """
    @param token_ The quote token, 6 decimals
    @param operator_ Who may anchor
    @param genesis_state_root State root before the first batch
    @param rules_hash_ Hash of the rules in force
    """
    assert token_.is_contract, "token: no contract"
    assert operator_ != empty(address), "operator: zero"
    token = token_
    operator = operator_
    rules_hash = rules_hash_
    self.state_root = genesis_state_root


# ---- Deposits


@external
@nonreentrant
def deposit(amount: uint256):
    """
    @notice Deposit tokens that the sender has approved; the sender is the owner
    @param amount Token units to pull. What arrives is what counts.
    """
    self._deposit(msg.sender, amount)


@external
@nonreentrant
def deposit_with_permit(amount: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32):
    """
    @notice Approve by an EIP-2612 permit of the sender and deposit, in one transaction
    @dev A permit is public once sent, and somebody may hand it in first. That it fails here is therefore no
         error as long as the allowance is there.
    """
    success: bool = raw_call(
        token,
        abi_encode(
            msg.sender,
            self,
            amount,
            deadline,
            v,
            r,
            s,
            method_id=method_id("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"),
        ),
        revert_on_failure=False,
    )
    assert staticcall IERC20Permit(token).allowance(msg.sender, self) >= amount, "deposit: permit refused"
    self._deposit(msg.sender, amount)


@internal
def _deposit(owner: address, amount: uint256):
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    assert extcall IERC20(token).transferFrom(owner, self, amount, default_return_value=True), "deposit: transfer failed"
    received: uint256 = staticcall IERC20(token).balanceOf(self) - before
    assert received > 0, "deposit: nothing received"

    count: uint64 = self.deposit_count
    total: uint256 = self.deposit_totals[count] + received
    assert total <= MAX_QUANTA, "deposit: too much"
    index: uint64 = count + 1
    accumulator: bytes32 = keccak256(
        concat(
            0x40,
            self.deposit_accumulators[count],
            convert(index, bytes8),
            convert(owner, bytes20),
            convert(received, bytes32),
        )
    )
    self.deposit_count = index
    self.deposit_accumulators[index] = accumulator
    self.deposit_totals[index] = total
    log Deposit(index=index, owner=owner, amount=received, accumulator=accumulator)


# ---- Batches


@external
@nonreentrant
def anchor(header: BatchHeader):
    """
    @notice Anchor the next batch; the operator only
    @dev Forced requests are not yet taken, so their queue must be empty.
    @param header The batch, fields as in hawse.commit.header
    """
    assert msg.sender == operator, "anchor: not the operator"
    assert header.version == VERSION, "anchor: version"
    number: uint64 = self.batch_count + 1
    assert header.number == number, "anchor: number"
    assert header.previous_state_root == self.state_root, "anchor: previous state root"
    assert header.rules_hash == rules_hash, "anchor: rules hash"
    assert header.journal_first == self.next_slot, "anchor: journal gap"
    assert header.journal_last >= header.journal_first, "anchor: journal range"
    assert header.time >= self.last_time, "anchor: time"
    assert header.deposit_index >= self.deposits_consumed, "anchor: deposit given back"
    assert header.deposit_index <= self.deposit_count, "anchor: deposit unknown"
    assert header.deposit_accumulator == self.deposit_accumulators[header.deposit_index], "anchor: deposit accumulator"
    assert header.forced_index == 0 and header.forced_accumulator == empty(bytes32), "anchor: forced queue"
    assert header.exit_numerator <= header.exit_denominator and header.exit_denominator > 0, "anchor: exit factor"

    held: uint256 = staticcall IERC20(token).balanceOf(self)
    owed: uint256 = self.withdrawals_unclaimed + self._unconsumed(header.deposit_index)
    for part: uint256 in [header.exit_sum, header.insurance, header.fees, header.dust, header.withdrawals_sum]:
        # Part by part, so that a header of huge sums is refused with its reason and not by an overflow.
        assert part <= held, "anchor: insolvent"
        owed += part
    assert owed <= held, "anchor: insolvent"

    digest: bytes32 = self._digest(header)
    self.batch_count = number
    self.batches[number] = Batch(
        digest=digest,
        state_root=header.state_root,
        exit_root=header.exit_root,
        log_root=header.log_root,
        log_leaves=header.log_leaves,
        log_records=header.log_records,
        withdrawals_root=header.withdrawals_root,
        withdrawals_remaining=header.withdrawals_sum,
    )
    self.state_root = header.state_root
    self.deposits_consumed = header.deposit_index
    self.next_slot = header.journal_last + 1
    self.last_time = header.time
    self.withdrawals_unclaimed += header.withdrawals_sum
    log Anchored(number=number, state_root=header.state_root, log_root=header.log_root, digest=digest)


# ---- Withdrawals


@external
@nonreentrant
def claim(
    batch: uint64, id: uint64, owner: address, amount: uint256, path: uint256, proof: DynArray[bytes32, MAX_PROOF]
):
    """
    @notice Pay a withdrawal to its owner; anybody may submit
    @param batch Number of the batch that has the withdrawal
    @param id Of the withdrawal, unique over all batches
    @param owner Who is paid
    @param amount Token units
    @param path Bit k is 1 where the k-th node from the leaf is a right child
    @param proof Siblings from the leaf up
    """
    assert batch > 0 and batch <= self.batch_count, "claim: batch unknown"
    assert not self.claimed[id], "claim: already paid"
    node: bytes32 = keccak256(concat(0x30, convert(id, bytes8), convert(owner, bytes20), convert(amount, bytes32)))
    assert self._root(node, path, proof) == self.batches[batch].withdrawals_root, "claim: proof"
    remaining: uint256 = self.batches[batch].withdrawals_remaining
    assert amount <= remaining, "claim: more than the batch has"

    self.claimed[id] = True
    self.batches[batch].withdrawals_remaining = remaining - amount
    self.withdrawals_unclaimed -= amount
    assert extcall IERC20(token).transfer(owner, amount, default_return_value=True), "claim: transfer failed"
    log Claimed(batch=batch, id=id, owner=owner, amount=amount)


@internal
@pure
def _root(leaf: bytes32, path: uint256, proof: DynArray[bytes32, MAX_PROOF]) -> bytes32:
    node: bytes32 = leaf
    turns: uint256 = path
    for sibling: bytes32 in proof:
        if turns & 1 == 1:
            node = keccak256(concat(0x31, sibling, node))
        else:
            node = keccak256(concat(0x31, node, sibling))
        turns >>= 1
    assert turns == 0, "claim: path"
    return node


# ---- Views


@external
@view
def balance_held() -> uint256:
    """
    @notice All collateral held, in token units
    """
    return staticcall IERC20(token).balanceOf(self)


@external
@view
def deposits_unconsumed() -> uint256:
    """
    @notice Sum of the deposits that no batch has consumed yet
    """
    return self._unconsumed(self.deposits_consumed)


@external
@view
def record_included(
    batch: uint64,
    record: bytes24,
    leaf: uint64,
    position: uint256,
    chunk: Bytes[CHUNK],
    proof: DynArray[bytes32, MAX_PROOF],
) -> bool:
    """
    @notice Whether a record stands in the report log of a batch
    @dev The path follows from the leaf's index and the number of leaves that was anchored, so both are proven.
    @param batch Number of the batch; one that is not anchored includes nothing
    @param record The committed bytes of the record
    @param leaf Index of its leaf in the log, from 0
    @param position Of the record among those of the leaf, from 0
    @param chunk All records of the leaf
    @param proof Siblings from the leaf up
    """
    leaves: uint64 = self.batches[batch].log_leaves
    # No overflow: a position that is no index of a chunk is refused before it is multiplied.
    if leaf >= leaves or position >= len(chunk) // RECORD or len(chunk) % RECORD != 0:
        return False
    if slice(chunk, position * RECORD, RECORD) != slice(convert(record, bytes32), 0, RECORD):
        return False
    node: bytes32 = keccak256(concat(0x00, chunk))
    index: uint256 = convert(leaf, uint256)
    last: uint256 = convert(leaves, uint256) - 1
    taken: uint256 = 0
    for _height: uint256 in range(MAX_PROOF):
        if last == 0:
            break
        if (index ^ 1) <= last:  # else the last node of a level, alone: it is carried up
            if taken == len(proof):
                return False
            if index & 1 == 1:
                node = keccak256(concat(0x01, proof[taken], node))
            else:
                node = keccak256(concat(0x01, node, proof[taken]))
            taken += 1
        index >>= 1
        last >>= 1
    return taken == len(proof) and node == self.batches[batch].log_root


@external
@pure
def struct_hash(header: BatchHeader) -> bytes32:
    """
    @notice EIP-712 hashStruct of a header
    """
    return self._struct_hash(header)


@external
@view
def digest(header: BatchHeader) -> bytes32:
    """
    @notice EIP-712 digest of a header: what validators sign and what a batch stores
    """
    return self._digest(header)


@internal
@view
def _unconsumed(index: uint64) -> uint256:
    return self.deposit_totals[self.deposit_count] - self.deposit_totals[index]


@internal
@pure
def _struct_hash(header: BatchHeader) -> bytes32:
    return keccak256(abi_encode(_HEADER_TYPE, header))


@internal
@view
def _digest(header: BatchHeader) -> bytes32:
    # The separator is computed anew, so that a fork of the chain gets its own.
    separator: bytes32 = keccak256(
        abi_encode(_DOMAIN_TYPE, keccak256("Hawse"), keccak256("1"), chain.id, self)
    )
    return keccak256(concat(0x1901, separator, self._struct_hash(header)))
