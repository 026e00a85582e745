# pragma version 0.4.3
"""
@title Data of batches on the chain
@license Apache-2.0
@notice Keeps a hash of what was posted; the bytes themselves stand in its events. A settlement contract takes a batch
        only if all of its data was posted, so whoever has the chain can rebuild what exits need.
@dev Holds no money and has no owner. Anybody may post anything, by whatever contract, and again: what is posted says
     nothing of a batch until a header names its hash, and the bytes of a hash are always the same. Data of several
     parts is posted in order, each behind the one before.
"""

#: Bytes of a part.
MAX_PART: constant(uint256) = 96_000

#: Whether a part, and all before it, were posted.
posted: public(HashMap[bytes32, bool])


event Posted:
    hash: indexed(bytes32)
    previous: bytes32
    part: Bytes[MAX_PART]


@external
def post(previous: bytes32, part: Bytes[MAX_PART]):
    """
    @notice Post a part of a batch's data; its hash is keccak256(0xD0, previous, keccak256(part))
    @param previous Hash of the part before, zero for the first
    @param part Bytes
    """
    assert previous == empty(bytes32) or self.posted[previous], "post: previous part"
    hash: bytes32 = keccak256(concat(0xD0, previous, keccak256(part)))
    self.posted[hash] = True
    log Posted(hash=hash, previous=previous, part=part)
