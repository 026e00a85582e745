# pragma version 0.4.3
"""
@title Records in the logs of anchored batches
@license Apache-2.0
@notice Lets any contract see that the engine reported something: whether a record stands in the report log that a
        settlement contract has anchored.
@dev Holds nothing, and trusts the settlement contract that it is asked about for nothing but its anchors.
"""

import headers


struct Batch:
    digest: bytes32
    withdrawals: bytes32
    place: uint256


interface ISettlement:
    def batch_count() -> uint64: view
    def batches(number: uint64) -> Batch: view
    def digest(header: headers.BatchHeader) -> bytes32: view


#: Longest path: of 2**34 leaves.
LOG_PATH: constant(uint256) = 34
#: Bytes of a record of the report log, and of a full chunk of them.
RECORD: constant(uint256) = 24
CHUNK: constant(uint256) = 64 * RECORD


@external
@view
def record_included(
    settlement: address,
    header: headers.BatchHeader,
    record: bytes24,
    leaf: uint64,
    position: uint256,
    chunk: Bytes[CHUNK],
    proof: DynArray[bytes32, LOG_PATH],
) -> bool:
    """
    @notice Whether a record stands in the report log of a batch
    @dev The path follows from the leaf's index and the number of leaves that was anchored, so both are proven.
    @param settlement Contract that anchored the batch
    @param header Of the batch; one that is not anchored includes nothing
    @param record The committed bytes of the record
    @param leaf Index of its leaf in the log, from 0
    @param position Of the record among those of the leaf, from 0
    @param chunk All records of the leaf
    @param proof Siblings from the leaf up
    """
    # No overflow: a position that is no index of a chunk is refused before it is multiplied.
    if leaf >= header.log_leaves or position >= len(chunk) // RECORD or len(chunk) % RECORD != 0:
        return False
    if slice(chunk, position * RECORD, RECORD) != slice(convert(record, bytes32), 0, RECORD):
        return False
    batch: Batch = staticcall ISettlement(settlement).batches(header.number)
    known: bool = header.number <= staticcall ISettlement(settlement).batch_count()
    if not known or batch.digest != staticcall ISettlement(settlement).digest(header):
        return False
    node: bytes32 = keccak256(concat(0x00, chunk))
    index: uint256 = convert(leaf, uint256)
    last: uint256 = convert(header.log_leaves, uint256) - 1
    taken: uint256 = 0
    for _height: uint256 in range(LOG_PATH):
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
    return taken == len(proof) and node == header.log_root
