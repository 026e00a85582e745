# pragma version 0.4.3
"""
@title Settlement of a Hawse venue
@license Apache-2.0
@notice Holds the collateral of a venue that trades off-chain. Deposits are numbered and chained in a hash
        accumulator; the operator anchors batches, each continuing the one before it; withdrawals of an
        anchored batch are paid to their owners by proof.
@dev The bytes behind each hash are those of docs/commitments.md. Money is in token units, one unit being one
     quantum: the token has 6 decimals. Of a batch only hashes are kept; who needs more shows its header or its
     range of withdrawals again. Invariants:
     1. Every anchored batch continues the last: number, state root, slots, inputs, withdrawals; its time is
        ahead of its block's by no more than the drift. No header that was taken can make the next impossible.
        At least `threshold` validators have signed it, where there are any.
     2. At every anchor, and so until the next: what the exits are paid + what is left of insurance, fees and
        dust + withdrawals not yet claimed + deposits not yet consumed <= balance of the token held here.
     3. Ids of withdrawals are contiguous over all batches, so that each has one place. It is paid at most once,
        to its owner only, and the withdrawals of a batch never take more than the sum that the batch declared,
        because every node of their tree commits to its sum. So no claim can eat into what others are owed.
     4. The deposit accumulator of an index never changes; a batch consumes a prefix of the deposits, and
        never gives one back.
     5. Before a freeze tokens leave by `claim` alone, and for withdrawals of final batches only.
     6. A batch is final once `window` seconds have passed since its anchor, and stays so; finality is a prefix.
     7. Anybody may freeze the venue, once and for ever, when nothing was anchored for `grace` seconds, or the oldest
        request that no batch has taken is older than that. It voids the batches that are not final. Then each
        account of the last final batch is paid its exit once, each deposit that this batch has not consumed is paid
        back once, and withdrawals of final batches stay claimable; nothing else ever leaves.
     8. The request accumulator of an index never changes; a batch takes a prefix of the requests, and never gives one
        back. It takes sixteen, or all that are older than its own time by half of the grace.
"""

from ethereum.ercs import IERC20

import headers


interface IBatchData:
    def posted(hash: bytes32) -> bool: view


interface IERC20Detailed:
    def decimals() -> uint8: view


interface IERC20Permit:
    def allowance(owner: address, spender: address) -> uint256: view
    def permit(
        owner: address, spender: address, amount: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32
    ): nonpayable


#: What is kept of a batch.
struct Batch:
    digest: bytes32
    withdrawals: bytes32  # keccak256(0x32, root, first, count, sum)
    # Its block's time, from bit 64 the index of its last deposit, from 128 the withdrawals of all batches up to it.
    place: uint256


#: The withdrawals of a batch, as its header has them.
struct Withdrawals:
    root: bytes32
    first: uint64
    count: uint32
    sum: uint128


#: Sibling on the way up the tree of withdrawals.
struct SumNode:
    hash: bytes32
    sum: uint128


#: Sibling on the way up the exit tree.
struct ExitNode:
    hash: bytes32
    positive: uint128
    shortfall: uint128


#: EIP-2098: r, and s below the parity in its highest bit.
struct Signature:
    r: bytes32
    vs: bytes32


event Deposit:
    index: indexed(uint64)
    owner: indexed(address)
    amount: uint256
    accumulator: bytes32


event Anchored:
    number: indexed(uint64)
    digest: bytes32
    header: Bytes[HEADER_BYTES]  # its words, so that whoever rebuilds needs no transaction


event Claimed:
    batch: indexed(uint64)
    id: indexed(uint64)
    owner: indexed(address)
    amount: uint256


event Requested:
    number: indexed(uint64)
    owner: indexed(address)
    kind: uint8
    account: uint32
    generation: uint64
    amount: uint64
    agent: address
    expiry: uint64
    time: uint64
    accumulator: bytes32


event Frozen:
    final_batch: uint64
    silent: bool
    ignored: bool


event Exited:
    index: indexed(uint32)
    owner: indexed(address)
    amount: uint256


event Refunded:
    index: indexed(uint64)
    owner: indexed(address)
    amount: uint256


VERSION: constant(uint16) = 2
#: Of a header, as the ABI encodes it.
HEADER_BYTES: constant(uint256) = 36 * 32
DECIMALS: constant(uint8) = 6
#: All deposits together stay within the int64 of the state machine's money.
MAX_QUANTA: constant(uint256) = 2**63 - 1
#: Amounts of a header stay below it, so that no sum of them overflows.
MAX_MONEY: constant(uint128) = 2**126
#: New accounts, inputs, records and withdrawals of a batch.
MAX_ACCOUNTS: constant(uint64) = 2**20
MAX_INPUTS: constant(uint32) = 2**24
MAX_RECORDS: constant(uint64) = 2**40
MAX_WITHDRAWALS: constant(uint32) = 2**20
#: Slots of a batch stay below it.
MAX_SLOTS: constant(uint64) = 2**32
#: Seconds by which the time of a header may differ from its block's.
MIN_DRIFT: constant(uint256) = 60
MAX_DRIFT: constant(uint256) = 86_400
#: Seconds until a batch is final, and without an answer until the venue can be frozen.
MAX_WINDOW: constant(uint256) = 30 * 86_400
MIN_GRACE: constant(uint256) = 3_600
MAX_GRACE: constant(uint256) = 90 * 86_400
#: Kinds of requests.
WITHDRAW: constant(uint8) = 1
APPOINT: constant(uint8) = 3
EXIT: constant(uint8) = 4
#: Validators.
MAX_VALIDATORS: constant(uint256) = 16
#: Half of the order of secp256k1; a signature's s is not above it.
HALF_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168
#: Requests that a batch has to take, if so many wait.
LEAST_REQUESTS: constant(uint64) = 16
#: Longest paths: of 2**20 withdrawals, 2**32 accounts.
WITHDRAWAL_PATH: constant(uint256) = 20
EXIT_PATH: constant(uint256) = 32
#: Root of a tree without leaves.
EMPTY_TREE: constant(bytes32) = keccak256(b"")

_DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_HEADER_TYPE: constant(bytes32) = keccak256(
    "BatchHeader(uint16 version,uint64 number,bytes32 previous_state_root,bytes32 state_root,uint32 accounts,bytes32 inputs_root,bytes32 outcomes_root,uint64 inputs_first,uint32 inputs_count,bytes32 log_root,uint64 log_leaves,uint64 log_records,bytes32 exit_root,uint128 exit_positive,uint128 exit_shortfall,bytes32 exit_marks_root,uint16 exit_marks,int128 insurance,uint128 fees,uint128 dust,bytes32 withdrawals_root,uint64 withdrawals_first,uint32 withdrawals_count,uint128 withdrawals_sum,uint64 deposit_index,bytes32 deposit_accumulator,uint64 forced_index,bytes32 forced_accumulator,bytes32 data_hash,uint16 data_provider,bytes32 rules_hash,bytes32 assets_hash,uint64 journal_first,uint64 journal_last,bytes32 journal_hash,uint64 time)"
)

#: The token that pays; the only one held.
token: public(immutable(address))
#: The only one who may anchor.
operator: public(immutable(address))
#: Hash of the transition rules that every batch must name.
rules_hash: public(immutable(bytes32))
#: Hash of the list of assets, which is the token alone.
assets_hash: public(immutable(bytes32))
#: Seconds by which the time of a header may differ from its block's.
drift: public(immutable(uint256))

#: Seconds after its anchor from which a batch is final.
window: public(immutable(uint256))
#: Seconds without an anchor, or an answer to a request, after which anybody may freeze.
grace: public(immutable(uint256))
#: Wei that a request costs.
request_fee: public(immutable(uint256))

#: Where the data of each batch is posted; zero where nobody provides it.
data: public(immutable(address))

#: Who may sign batches, and how many of them have to.
is_validator: public(HashMap[address, bool])
threshold: public(immutable(uint256))

#: Deposits so far; their indices run from 1 to this.
deposit_count: public(uint64)
#: Accumulator after the deposit of an index; zero at index 0.
deposit_accumulators: public(HashMap[uint64, bytes32])
#: Sum of all deposits up to and including an index.
deposit_totals: public(HashMap[uint64, uint256])

#: Batches so far; their numbers run from 1 to this.
batch_count: public(uint64)
#: Hashes of each batch.
batches: public(HashMap[uint64, Batch])
#: State root of the last batch; the genesis root before the first.
state_root: public(bytes32)
#: Leaves of its accounts tree; the venue's own account is there from the start.
accounts: public(uint64)
#: Sequence number with which the next batch's inputs must begin.
next_input: public(uint64)
#: Id with which the next batch's withdrawals must begin.
next_withdrawal: public(uint64)
#: Index of the last deposit that a batch has consumed.
deposits_consumed: public(uint64)
#: Slot number with which the next batch must begin.
next_slot: public(uint64)
#: Time of the last batch, milliseconds since 1970.
last_time: public(uint64)

#: Requests so far; their numbers run from 1 to this.
request_count: public(uint64)
#: Accumulator after the request of a number; zero at 0.
request_accumulators: public(HashMap[uint64, bytes32])
#: Block time of a request.
request_times: public(HashMap[uint64, uint256])
#: Number of the last request that a batch has taken.
requests_taken: public(uint64)

#: Block time of the last anchor; of the deployment before the first.
anchored_at: public(uint256)
#: Whether the venue is frozen. `batch_count` is then the last final batch.
frozen: public(bool)
#: Bit index % 256 of word index // 256: whether the exit of an account, or the refund of a deposit, was paid.
exited: HashMap[uint256, uint256]
refunded: HashMap[uint256, uint256]

#: Withdrawals of all batches that are not claimed yet.
withdrawals_unclaimed: public(uint256)
#: Bit id % 256 of word id // 256: whether the withdrawal of an id has been paid.
paid: HashMap[uint256, uint256]


@deploy
def __init__(
    token_: address,
    operator_: address,
    genesis_state_root: bytes32,
    rules_hash_: bytes32,
    drift_: uint256,
    window_: uint256,
    grace_: uint256,
    request_fee_: uint256,
    validators: DynArray[address, MAX_VALIDATORS],
    threshold_: uint256,
    data_: address,
):
    """
    @param token_ The quote token, 6 decimals
    @param operator_ Who may anchor
    @param genesis_state_root State root before the first batch
    @param rules_hash_ Hash of the rules in force
    @param drift_ Seconds by which the time of a header may be ahead of its block's, 60 to 86,400
    @param window_ Seconds after its anchor from which a batch is final, at most 30 days
    @param grace_ Seconds without an answer after which anybody may freeze, an hour to 90 days, above the window and
           twice the drift
    @param request_fee_ Wei that a request costs
    @param validators Who may sign batches, ascending
    @param threshold_ How many of them have to; with 0 the operator alone is trusted
    @param data_ Contract where the data of each batch is posted; zero where nobody provides it
    """
    assert token_.is_contract, "token: no contract"
    assert staticcall IERC20Detailed(token_).decimals() == DECIMALS, "token: decimals"
    assert operator_ != empty(address), "operator: zero"
    assert drift_ >= MIN_DRIFT and drift_ <= MAX_DRIFT, "drift: out of bounds"
    assert window_ <= MAX_WINDOW, "window: out of bounds"
    assert grace_ >= MIN_GRACE and grace_ <= MAX_GRACE, "grace: out of bounds"
    assert grace_ > window_ and grace_ > 2 * drift_, "grace: out of bounds"
    assert threshold_ <= len(validators), "threshold: more than validators"
    last: address = empty(address)
    for validator: address in validators:
        assert convert(validator, uint160) > convert(last, uint160), "validators: not ascending"
        self.is_validator[validator] = True
        last = validator
    threshold = threshold_
    data = data_
    token = token_
    operator = operator_
    rules_hash = rules_hash_
    # Tag, version, and the number of assets in two bytes.
    assets_hash = keccak256(concat(0x68020001, convert(chain.id, bytes32), convert(token_, bytes20)))
    drift = drift_
    window = window_
    grace = grace_
    request_fee = request_fee_
    self.anchored_at = block.timestamp
    self.state_root = genesis_state_root
    self.accounts = 1
    self.next_input = 1
    self.next_withdrawal = 1


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
    assert not self.frozen, "deposit: frozen"
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    assert extcall IERC20(token).transferFrom(owner, self, amount, default_return_value=True), "deposit: transfer failed"
    received: uint256 = staticcall IERC20(token).balanceOf(self) - before
    assert received > 0, "deposit: nothing received"

    count: uint64 = self.deposit_count
    total: uint256 = self.deposit_totals[count] + received
    assert total <= MAX_QUANTA, "deposit: too much"
    index: uint64 = count + 1
    accumulator: bytes32 = self._after_deposit(index, owner, received)
    self.deposit_count = index
    self.deposit_accumulators[index] = accumulator
    self.deposit_totals[index] = total
    log Deposit(index=index, owner=owner, amount=received, accumulator=accumulator)


# ---- Requests


@external
@payable
def request(kind: uint8, account: uint32, generation: uint64, amount: uint64, agent: address, expiry: uint64):
    """
    @notice Ask the venue in a way that it cannot pass over: a withdrawal, the cancel of all orders, an agent, an exit.
            The sender is the owner, and may be a contract.
    @dev The venue's rules answer it; the outcome leaf of the batch that takes it says how.
    @param kind 1 withdraw, 2 cancel all, 3 appoint or revoke an agent, 4 exit
    @param account Index of the account
    @param generation Of the account
    @param amount Quanta to withdraw, else 0
    @param agent To appoint, else zero
    @param expiry Of the appointment, milliseconds since 1970, 0 to revoke it; else 0
    """
    assert not self.frozen, "request: frozen"
    assert msg.value == request_fee, "request: fee"
    assert kind >= WITHDRAW and kind <= EXIT, "request: kind"
    assert kind == WITHDRAW or amount == 0, "request: amount"
    assert kind == APPOINT or (agent == empty(address) and expiry == 0), "request: agent"
    number: uint64 = self.request_count + 1
    time: uint64 = convert(block.timestamp, uint64)
    accumulator: bytes32 = keccak256(
        concat(
            0xC0,
            self.request_accumulators[number - 1],
            convert(number, bytes8),
            convert(kind, bytes1),
            convert(msg.sender, bytes20),
            convert(account, bytes4),
            convert(generation, bytes8),
            convert(amount, bytes8),
            convert(agent, bytes20),
            convert(expiry, bytes8),
            convert(time, bytes8),
        )
    )
    self.request_count = number
    self.request_accumulators[number] = accumulator
    self.request_times[number] = block.timestamp
    log Requested(
        number=number,
        owner=msg.sender,
        kind=kind,
        account=account,
        generation=generation,
        amount=amount,
        agent=agent,
        expiry=expiry,
        time=time,
        accumulator=accumulator,
    )


@external
@nonreentrant
def collect_fees():
    """
    @notice Send the fees of all requests to the operator
    """
    raw_call(operator, b"", value=self.balance)


# ---- Batches


@external
@nonreentrant
def anchor(header: headers.BatchHeader, signatures: DynArray[Signature, MAX_VALIDATORS]):
    """
    @notice Anchor the next batch; the operator only
    @dev What the data says is not looked at here: validators sign its hash.
    @param header The batch, fields as in hawse.commit.header
    @param signatures Of its digest by validators, in the order of their addresses
    """
    assert msg.sender == operator, "anchor: not the operator"
    assert not self.frozen, "anchor: frozen"
    self._check_continues(header)
    self._check_bounds(header)
    if data == empty(address):
        assert header.data_provider == 0 and header.data_hash == empty(bytes32), "anchor: data provider"
    else:
        assert header.data_provider == 1, "anchor: data provider"
        assert staticcall IBatchData(data).posted(header.data_hash), "anchor: data not posted"
    assert self._owed(header) <= staticcall IERC20(token).balanceOf(self), "anchor: insolvent"

    digest: bytes32 = self._digest(header)
    self._check_signed(digest, signatures)
    sum: uint256 = convert(header.withdrawals_sum, uint256)
    total: uint256 = self._withdrawn(self.batch_count) + sum
    assert total <= convert(max_value(uint128), uint256), "anchor: withdrawals sum"
    self.batches[header.number] = Batch(
        digest=digest,
        withdrawals=self._range_hash(self._withdrawals(header)),
        place=block.timestamp | convert(header.deposit_index, uint256) << 64 | total << 128,
    )
    self.batch_count = header.number
    self.state_root = header.state_root
    self.accounts = convert(header.accounts, uint64)
    self.next_input = header.inputs_first + convert(header.inputs_count, uint64)
    self.next_withdrawal = header.withdrawals_first + convert(header.withdrawals_count, uint64)
    self.deposits_consumed = header.deposit_index
    self.next_slot = header.journal_last + 1
    self.last_time = header.time
    self.requests_taken = header.forced_index
    self.anchored_at = block.timestamp
    self.withdrawals_unclaimed += sum
    log Anchored(number=header.number, digest=digest, header=abi_encode(header))


@internal
@view
def _check_signed(digest: bytes32, signatures: DynArray[Signature, MAX_VALIDATORS]):
    assert len(signatures) >= threshold, "anchor: too few signatures"
    last: address = empty(address)
    for signature: Signature in signatures:
        vs: uint256 = convert(signature.vs, uint256)
        s: uint256 = vs & max_value(uint256) >> 1
        assert s <= HALF_ORDER, "anchor: signature with a high s"
        signer: address = ecrecover(digest, 27 + (vs >> 255), convert(signature.r, uint256), s)
        assert convert(signer, uint160) > convert(last, uint160), "anchor: signers not ascending"
        assert self.is_validator[signer], "anchor: not a validator"
        last = signer


@internal
@view
def _check_continues(header: headers.BatchHeader):
    assert header.version == VERSION, "anchor: version"
    assert header.number == self.batch_count + 1, "anchor: number"
    assert header.previous_state_root == self.state_root, "anchor: previous state root"
    accounts: uint64 = convert(header.accounts, uint64)
    assert accounts >= self.accounts and accounts <= self.accounts + MAX_ACCOUNTS, "anchor: accounts"
    assert header.inputs_first == self.next_input, "anchor: inputs gap"
    assert header.withdrawals_first == self.next_withdrawal, "anchor: withdrawals gap"
    assert header.journal_first == self.next_slot, "anchor: journal gap"
    assert header.deposit_index >= self.deposits_consumed, "anchor: deposit given back"
    assert header.deposit_index <= self.deposit_count, "anchor: deposit unknown"
    assert header.deposit_accumulator == self.deposit_accumulators[header.deposit_index], "anchor: deposit accumulator"
    taken: uint64 = header.forced_index
    assert taken >= self.requests_taken, "anchor: request given back"
    assert taken <= self.request_count, "anchor: request unknown"
    assert header.forced_accumulator == self.request_accumulators[taken], "anchor: request accumulator"
    # A batch that waited for the chain could not know of what came meanwhile; so what came of late may be left.
    if taken < self.request_count and taken < self.requests_taken + LEAST_REQUESTS:
        waits: uint256 = self.request_times[taken + 1] + grace // 2
        assert convert(header.time, uint256) <= waits * 1000, "anchor: request left waiting"
    assert header.rules_hash == rules_hash, "anchor: rules hash"
    assert header.assets_hash == assets_hash, "anchor: assets hash"
    assert header.time >= self.last_time, "anchor: time"
    time: uint256 = convert(header.time, uint256)
    assert time <= (block.timestamp + drift) * 1000, "anchor: time ahead of the chain"


@internal
@pure
def _check_bounds(header: headers.BatchHeader):
    assert header.inputs_count <= MAX_INPUTS, "anchor: inputs count"
    # In this order no product overflows.
    assert header.log_leaves <= MAX_RECORDS // 64, "anchor: log leaves"
    assert header.log_records >= header.log_leaves, "anchor: log records"
    assert header.log_records <= 64 * header.log_leaves, "anchor: log records"
    assert header.exit_positive < MAX_MONEY, "anchor: exit positive"
    assert header.exit_shortfall < MAX_MONEY, "anchor: exit shortfall"
    limit: int128 = convert(MAX_MONEY, int128)
    assert header.insurance < limit and header.insurance > -limit, "anchor: insurance"
    assert header.fees < MAX_MONEY, "anchor: fees"
    assert header.dust < MAX_MONEY, "anchor: dust"
    assert header.withdrawals_count <= MAX_WITHDRAWALS, "anchor: withdrawals count"
    if header.withdrawals_count == 0:
        assert header.withdrawals_root == EMPTY_TREE and header.withdrawals_sum == 0, "anchor: withdrawals of none"
    assert header.journal_last >= header.journal_first, "anchor: journal range"
    assert header.journal_last - header.journal_first < MAX_SLOTS, "anchor: journal range"


@internal
@view
def _owed(header: headers.BatchHeader) -> uint256:
    # All that is owed once this batch is anchored. No sum overflows: each part has its bound.
    positive: int256 = convert(header.exit_positive, int256)
    spare: int256 = convert(header.insurance, int256) - convert(header.exit_shortfall, int256)
    uncovered: int256 = max(0, -spare)
    venue: int256 = convert(header.fees, int256) + convert(header.dust, int256) - max(0, uncovered - positive)
    parts: int256 = max(0, positive - uncovered) + max(0, spare) + max(0, venue)
    waiting: uint256 = self.withdrawals_unclaimed + convert(header.withdrawals_sum, uint256)
    return convert(parts, uint256) + waiting + self._unconsumed(header.deposit_index)


# ---- Finality and freeze


@internal
@view
def _is_final(number: uint64) -> bool:
    # Of a batch that there is.
    return self.frozen or (self.batches[number].place & convert(max_value(uint64), uint256)) + window <= block.timestamp


@internal
@view
def _withdrawn(number: uint64) -> uint256:
    # All withdrawals of the batches up to it.
    return self.batches[number].place >> 128


@internal
@view
def _last_final() -> uint64:
    # Block times rise with the number, so the final ones are a prefix.
    if self.frozen:
        return self.batch_count
    low: uint64 = 0
    high: uint64 = self.batch_count
    for _step: uint256 in range(64):
        if low == high:
            break
        middle: uint64 = high - (high - low) // 2
        if self._is_final(middle):
            low = middle
        else:
            high = middle - 1
    return low


@external
def freeze():
    """
    @notice End the venue for ever, because its operator does not answer; anybody may
    @dev Batches that are not final are void: what they consumed of deposits is paid back.
    """
    assert not self.frozen, "freeze: frozen"
    silent: bool = block.timestamp > self.anchored_at + grace
    head: uint64 = self.requests_taken + 1
    ignored: bool = head <= self.request_count and block.timestamp > self.request_times[head] + grace
    assert silent or ignored, "freeze: the venue answers"

    final: uint64 = self._last_final()
    self.withdrawals_unclaimed -= self._withdrawn(self.batch_count) - self._withdrawn(final)
    self.deposits_consumed = convert(self.batches[final].place >> 64 & convert(max_value(uint64), uint256), uint64)
    self.batch_count = final
    self.frozen = True
    log Frozen(final_batch=final, silent=silent, ignored=ignored)


@external
@nonreentrant
def exit(
    header: headers.BatchHeader,
    index: uint32,
    owner: address,
    generation: uint64,
    equity: int128,
    proof: DynArray[ExitNode, EXIT_PATH],
):
    """
    @notice Pay an account of the last final batch of a frozen venue what it had then; anybody may submit
    @param header Of the last final batch
    @param index Of the account
    @param owner Who is paid
    @param generation Of the account
    @param equity Of the account at the exit marks, signed
    @param proof Siblings from the leaf up, with their sums
    """
    assert self.frozen, "exit: not frozen"
    assert header.number == self.batch_count, "exit: not the last final batch"
    payout: uint256 = self._payout(header, index, owner, generation, equity, proof)
    word: uint256 = convert(index // 256, uint256)
    bit: uint256 = 1 << convert(index % 256, uint256)
    assert self.exited[word] & bit == 0, "exit: already paid"
    assert payout > 0, "exit: nothing to pay"
    self.exited[word] |= bit
    assert extcall IERC20(token).transfer(owner, payout, default_return_value=True), "exit: transfer failed"
    log Exited(index=index, owner=owner, amount=payout)


@external
@nonreentrant
def refund(index: uint64, owner: address, amount: uint256):
    """
    @notice Pay back a deposit that the last final batch of a frozen venue has not consumed; anybody may submit
    @param index Of the deposit
    @param owner Who made it, and is paid
    @param amount Token units
    """
    assert self.frozen, "refund: not frozen"
    assert index > self.deposits_consumed, "refund: consumed"
    assert index <= self.deposit_count, "refund: no such deposit"
    assert self._after_deposit(index, owner, amount) == self.deposit_accumulators[index], "refund: deposit"
    word: uint256 = convert(index // 256, uint256)
    bit: uint256 = 1 << convert(index % 256, uint256)
    assert self.refunded[word] & bit == 0, "refund: already paid"
    self.refunded[word] |= bit
    assert extcall IERC20(token).transfer(owner, amount, default_return_value=True), "refund: transfer failed"
    log Refunded(index=index, owner=owner, amount=amount)


@internal
@view
def _after_deposit(index: uint64, owner: address, amount: uint256) -> bytes32:
    return keccak256(
        concat(
            0x40,
            self.deposit_accumulators[index - 1],
            convert(index, bytes8),
            convert(owner, bytes20),
            convert(amount, bytes32),
        )
    )


# ---- Withdrawals


@external
@nonreentrant
def claim(
    batch: uint64,
    withdrawals: Withdrawals,
    id: uint64,
    owner: address,
    amount: uint128,
    proof: DynArray[SumNode, WITHDRAWAL_PATH],
):
    """
    @notice Pay a withdrawal to its owner; anybody may submit
    @dev The path follows from the id and the number of withdrawals of the batch, so all of them are proven.
    @param batch Number of the batch that has the withdrawal
    @param withdrawals What its header says of withdrawals
    @param id Of the withdrawal, unique over all batches
    @param owner Who is paid
    @param amount Token units
    @param proof Siblings from the leaf up, with their sums
    """
    known: bool = batch <= self.batch_count and self._range_hash(withdrawals) == self.batches[batch].withdrawals
    assert known, "claim: withdrawals of the batch"
    assert self._is_final(batch), "claim: not final yet"
    assert id >= withdrawals.first, "claim: id"
    index: uint256 = convert(id - withdrawals.first, uint256)
    assert index < convert(withdrawals.count, uint256), "claim: id"
    word: uint256 = convert(id // 256, uint256)
    bit: uint256 = 1 << convert(id % 256, uint256)
    assert self.paid[word] & bit == 0, "claim: already paid"
    # Tag, version; asset 0 is the token.
    leaf: bytes32 = keccak256(
        concat(0x3002, convert(id, bytes8), convert(owner, bytes20), 0x0000, convert(amount, bytes16))
    )
    assert self._withdrawal_included(withdrawals, index, leaf, amount, proof), "claim: proof"

    self.paid[word] |= bit
    value: uint256 = convert(amount, uint256)
    self.withdrawals_unclaimed -= value
    assert extcall IERC20(token).transfer(owner, value, default_return_value=True), "claim: transfer failed"
    log Claimed(batch=batch, id=id, owner=owner, amount=value)


@internal
@pure
def _withdrawal_included(
    withdrawals: Withdrawals, place: uint256, leaf: bytes32, amount: uint128, proof: DynArray[SumNode, WITHDRAWAL_PATH]
) -> bool:
    node: SumNode = SumNode(hash=leaf, sum=amount)
    index: uint256 = place
    last: uint256 = convert(withdrawals.count, uint256) - 1
    taken: uint256 = 0
    for _height: uint256 in range(WITHDRAWAL_PATH):
        if last == 0:
            break
        if (index ^ 1) <= last:  # else the last node of a level, alone: it is carried up
            if taken == len(proof):
                return False
            sibling: SumNode = proof[taken]
            if sibling.sum > max_value(uint128) - node.sum:
                return False
            left: SumNode = node
            right: SumNode = sibling
            if index & 1 == 1:
                left = sibling
                right = node
            node = SumNode(
                hash=keccak256(
                    concat(0x31, left.hash, convert(left.sum, bytes16), right.hash, convert(right.sum, bytes16))
                ),
                sum=left.sum + right.sum,
            )
            taken += 1
        index >>= 1
        last >>= 1
    return taken == len(proof) and node.hash == withdrawals.root and node.sum == withdrawals.sum


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
def last_final() -> uint64:
    """
    @notice Number of the last batch that is final, 0 before the first
    """
    return self._last_final()


@external
@view
def is_refunded(index: uint64) -> bool:
    """
    @notice Whether the deposit of an index has been paid back
    """
    return (self.refunded[convert(index // 256, uint256)] >> convert(index % 256, uint256)) & 1 == 1


@external
@view
def claimed(id: uint64) -> bool:
    """
    @notice Whether the withdrawal of an id has been paid
    """
    return (self.paid[convert(id // 256, uint256)] >> convert(id % 256, uint256)) & 1 == 1


@external
@view
def exit_factor(header: headers.BatchHeader) -> (uint256, uint256):
    """
    @notice What all exits of an anchored batch together would be paid, and the sum of positive equity: the
            numerator and the denominator of each payout
    @param header Of the batch
    """
    assert self._anchored(header), "exit: batch unknown"
    return self._exit_factor(header)


@external
@view
def exit_payout(
    header: headers.BatchHeader,
    index: uint32,
    owner: address,
    generation: uint64,
    equity: int128,
    proof: DynArray[ExitNode, EXIT_PATH],
) -> uint256:
    """
    @notice What an account would be paid if an anchored batch were the last, in token units, rounded down
    @dev The path follows from the account's index and the number of accounts, so an index has one leaf.
    @param header Of the batch
    @param index Of the account
    @param owner Of the account
    @param generation Of the account
    @param equity Of the account at the exit marks, signed
    @param proof Siblings from the leaf up, with their sums
    """
    return self._payout(header, index, owner, generation, equity, proof)


@internal
@view
def _payout(
    header: headers.BatchHeader,
    index: uint32,
    owner: address,
    generation: uint64,
    equity: int128,
    proof: DynArray[ExitNode, EXIT_PATH],
) -> uint256:
    assert self._anchored(header), "exit: batch unknown"
    assert index < header.accounts, "exit: index"
    # Tag, version; asset 0 is the token.
    leaf: bytes32 = keccak256(
        concat(
            0x2002,
            convert(index, bytes4),
            convert(owner, bytes20),
            convert(generation, bytes8),
            0x0000,
            convert(equity, bytes16),
        )
    )
    assert self._exit_included(header, index, leaf, equity, proof), "exit: proof"
    if equity <= 0:
        return 0
    numerator: uint256 = 0
    denominator: uint256 = 0
    numerator, denominator = self._exit_factor(header)
    return convert(equity, uint256) * numerator // denominator


@internal
@pure
def _exit_factor(header: headers.BatchHeader) -> (uint256, uint256):
    positive: int256 = convert(header.exit_positive, int256)
    uncovered: int256 = max(0, convert(header.exit_shortfall, int256) - convert(header.insurance, int256))
    return convert(max(0, positive - uncovered), uint256), convert(positive, uint256)


@internal
@pure
def _exit_included(
    header: headers.BatchHeader, place: uint32, leaf: bytes32, equity: int128, proof: DynArray[ExitNode, EXIT_PATH]
) -> bool:
    signed: int256 = convert(equity, int256)
    hash: bytes32 = leaf
    positive: uint256 = convert(max(0, signed), uint256)
    shortfall: uint256 = convert(max(0, -signed), uint256)
    index: uint256 = convert(place, uint256)
    last: uint256 = convert(header.accounts, uint256) - 1
    taken: uint256 = 0
    for _height: uint256 in range(EXIT_PATH):
        if last == 0:
            break
        if (index ^ 1) <= last:  # else the last node of a level, alone: it is carried up
            if taken == len(proof):
                return False
            sibling: ExitNode = proof[taken]
            sums: Bytes[32] = concat(convert(sibling.positive, bytes16), convert(sibling.shortfall, bytes16))
            own: Bytes[32] = concat(
                convert(convert(positive, uint128), bytes16), convert(convert(shortfall, uint128), bytes16)
            )
            if index & 1 == 1:
                hash = keccak256(concat(0x21, sibling.hash, sums, hash, own))
            else:
                hash = keccak256(concat(0x21, hash, own, sibling.hash, sums))
            positive += convert(sibling.positive, uint256)
            shortfall += convert(sibling.shortfall, uint256)
            if max(positive, shortfall) > convert(max_value(uint128), uint256):
                return False
            taken += 1
        index >>= 1
        last >>= 1
    if taken != len(proof) or hash != header.exit_root:
        return False
    return positive == convert(header.exit_positive, uint256) and shortfall == convert(header.exit_shortfall, uint256)


@external
@pure
def struct_hash(header: headers.BatchHeader) -> bytes32:
    """
    @notice EIP-712 hashStruct of a header
    """
    return self._struct_hash(header)


@external
@view
def digest(header: headers.BatchHeader) -> bytes32:
    """
    @notice EIP-712 digest of a header: what validators sign and what a batch stores
    """
    return self._digest(header)


@internal
@view
def _unconsumed(index: uint64) -> uint256:
    return self.deposit_totals[self.deposit_count] - self.deposit_totals[index]


@internal
@view
def _anchored(header: headers.BatchHeader) -> bool:
    return header.number <= self.batch_count and self.batches[header.number].digest == self._digest(header)


@internal
@pure
def _withdrawals(header: headers.BatchHeader) -> Withdrawals:
    return Withdrawals(
        root=header.withdrawals_root,
        first=header.withdrawals_first,
        count=header.withdrawals_count,
        sum=header.withdrawals_sum,
    )


@internal
@pure
def _range_hash(withdrawals: Withdrawals) -> bytes32:
    return keccak256(
        concat(
            0x32,
            withdrawals.root,
            convert(withdrawals.first, bytes8),
            convert(withdrawals.count, bytes4),
            convert(withdrawals.sum, bytes16),
        )
    )


@internal
@pure
def _struct_hash(header: headers.BatchHeader) -> bytes32:
    return keccak256(abi_encode(_HEADER_TYPE, header))


@internal
@view
def _digest(header: headers.BatchHeader) -> bytes32:
    # The separator is computed anew, so that a fork of the chain gets its own.
    separator: bytes32 = keccak256(
        abi_encode(_DOMAIN_TYPE, keccak256("Hawse"), keccak256("2"), chain.id, self)
    )
    return keccak256(concat(0x1901, separator, self._struct_hash(header)))
