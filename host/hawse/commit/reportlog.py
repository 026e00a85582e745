"""The report log: a Keccak-256 Merkle tree over committed records, built as they arrive."""

from tiny_keccak import keccak256

from hawse.wire import RECORD_BYTES

#: Records of a full leaf.
CHUNK_RECORDS = 64

_CHUNK = CHUNK_RECORDS * RECORD_BYTES
_LEAF, _NODE, _DIGEST = b"\x00", b"\x01", b"\x02"


class ReportLog:
    """The log of one batch at a time; it is empty at first and after each :meth:`close`.

    A leaf holds up to 64 records; a fence ends it early. The tree over the leaves has the shape of RFC 6962.
    Only the roots of complete subtrees (the *peaks*) are kept: memory is logarithmic in the leaves.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        #: Roots of complete subtrees, the largest first; their sizes are the set bits of ``_leaves``.
        self._peaks: list[bytes] = []
        self._leaves = 0
        self._records = 0

    @property
    def records(self) -> int:
        """Records since the log began."""
        return self._records

    @property
    def leaves(self) -> int:
        """Finished leaves; a chunk that is still open does not count."""
        return self._leaves

    def append(self, records: bytes) -> None:
        """Add committed records of 24 bytes each.

        Raises:
            ValueError: ``records`` is not a multiple of 24 bytes long.
        """
        if len(records) % RECORD_BYTES:
            raise ValueError(f"records: {len(records)} bytes is not a multiple of {RECORD_BYTES}")
        self._records += len(records) // RECORD_BYTES
        start = 0
        if self._pending:
            start = _CHUNK - len(self._pending)
            self._pending += records[:start]
            if len(self._pending) < _CHUNK:
                return
            self._end_chunk()
        end = start + (len(records) - start) // _CHUNK * _CHUNK
        for at in range(start, end, _CHUNK):
            self._leaf(records[at : at + _CHUNK])
        self._pending += records[end:]

    def fence(self, epoch: int) -> bytes:
        """End the open chunk and return the digest (32 bytes) of all records so far."""
        self._end_chunk()
        counts = epoch.to_bytes(4, "little") + self._records.to_bytes(8, "little")
        return keccak256(_DIGEST + counts + b"".join(self._peaks))

    def close(self) -> tuple[bytes, int, int]:
        """End the log and begin an empty one; returns root (32 bytes), leaves and records."""
        result = self.root(), self._leaves, self._records
        self._peaks.clear()
        self._leaves = self._records = 0
        return result

    def root(self) -> bytes:
        """End the open chunk and return the root (32 bytes) of all records so far; the log goes on."""
        self._end_chunk()
        if not self._peaks:
            return keccak256(b"")
        *left, root = self._peaks
        for peak in reversed(left):
            root = keccak256(_NODE + peak + root)
        return root

    def _end_chunk(self) -> None:
        if self._pending:
            self._leaf(bytes(self._pending))
            self._pending.clear()

    def _leaf(self, chunk: bytes) -> None:
        peak = keccak256(_LEAF + chunk)
        size = self._leaves
        while size & 1:  # a complete subtree of this height waits: join them, as a binary counter carries
            peak = keccak256(_NODE + self._peaks.pop() + peak)
            size >>= 1
        self._peaks.append(peak)
        self._leaves += 1
