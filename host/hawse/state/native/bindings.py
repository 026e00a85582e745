"""The native state as a Python class that takes and gives packed buffers, one call for each."""

import ctypes
import mmap
import os
from collections.abc import Callable
from ctypes import POINTER, byref, c_int, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hawse.commit import data
from hawse.wire.dtypes import FENCE, Array

from .build import state_library

#: From so many bytes on, memory comes in large pages where the system has them: far fewer misses of the TLB.
_LARGE = 1 << 28
OK, UNFIT, TOO_MUCH, CLEARING, OVERFLOW, SNAPSHOT = range(0, -6, -1)
ENGINE, REFUSED, UNANSWERED, TOO_LITTLE = range(-6, -10, -1)

#: An i128, its low word first; :func:`wide` makes an integer of one.
I128 = ("<u8", (2,))
REFUSAL = np.dtype(
    {
        "names": ["seq", "reason", "detail", "have", "need"],
        "formats": ["<u8", "u1", "u1", I128, I128],
        "offsets": [0, 8, 9, 16, 32],
        "itemsize": 48,
    }
)
EVENT_MADE = np.dtype(
    {
        "names": ["reason", "instrument", "account", "first", "second"],
        "formats": ["u1", "<u2", "<u4", I128, I128],
        "offsets": [0, 2, 4, 16, 32],
        "itemsize": 48,
    }
)
MACHINE = np.dtype(
    {
        "names": ["seq", "cause", "row", "account", "reason"],
        "formats": ["<u8", "<u8", "<u4", "<u4", "u1"],
        "offsets": [0, 8, 16, 20, 24],
        "itemsize": 32,
    }
)
OBSERVATION = np.dtype(
    [
        ("time", "<u8"),
        ("number", "<u8"),
        ("value", "<i8"),
        ("feed", "<u2"),
        ("publisher", "u1"),
        ("is_signed", "u1"),
        ("zero", "u1", (4,)),
        ("signer", "u1", (20,)),
        ("signature", "u1", (64,)),
        ("struct_hash", "u1", (32,)),
        ("zeros", "u1", (4,)),
    ]
)
OPERATION = np.dtype(
    [
        ("kind", "u1"),
        ("is_signed", "u1"),
        ("zero", "u1", (2,)),
        ("size", "<u4"),
        ("body", "<u8"),
        ("signer", "u1", (20,)),
        ("signature", "u1", (64,)),
        ("zeros", "u1", (4,)),
    ]
)
REQUEST = np.dtype(
    [
        *((name, "<u8") for name in ("index", "generation", "amount", "expiry", "time")),
        ("account", "<u4"),
        ("kind", "u1"),
        ("owner", "u1", (20,)),
        ("agent", "u1", (20,)),
        ("zero", "u1", (3,)),
    ]
)
TRANSFER = np.dtype([("seq", "<u8"), ("generation", "<u8"), ("account", "<u4"), ("zero", "<u4")])
DEPOSIT = np.dtype([("index", "<u8"), ("amount", "<u8"), ("owner", "u1", (20,)), ("zero", "u1", (4,))])
WITHDRAWAL = np.dtype([("owner", "u1", (20,)), ("zero", "u1", (4,)), ("amount", "<u8")])
_HASH = ("u1", (32,))
BATCH_MADE = np.dtype(
    [
        *((name, *I128) for name in ("fees", "dust", "exit_positive", "exit_shortfall", "withdrawals_sum")),
        *(
            (name, "<u8")
            for name in (
                "number",
                "time",
                "inputs_first",
                "inputs_count",
                "deposit_index",
                "request_index",
                "withdrawals_first",
                "withdrawals_count",
            )
        ),
        ("insurance", "<i8"),
        ("accounts", "<u8"),
        ("marks", "<u8"),
        *(
            (name, *_HASH)
            for name in (
                "state_root",
                "rules",
                "assets",
                "inputs_root",
                "outcomes_root",
                "exit_root",
                "marks_root",
                "withdrawals_root",
                "deposit_accumulator",
                "request_accumulator",
            )
        ),
        *((name, "<u8") for name in ("inputs", "outcomes", "withdrawals", "exits")),
    ],
    align=True,
)
COUNTERS = np.dtype(
    [
        *((name, *I128) for name in ("deposited", "withdrawn", "fees", "overflow")),
        *(
            (name, "<u8")
            for name in (
                "next_slot",
                "time",
                "last_seq",
                "batch",
                "deposit_index",
                "request_index",
                "accounts",
                "wrong_seq",
                "permutations",
                "batch_inputs",
                "batch_withdrawals",
                "rules_from",
                "rules_size",
            )
        ),
        ("digest", *_HASH),
        ("deposit_accumulator", *_HASH),
        ("request_accumulator", *_HASH),
        ("phase", "<u4"),
        ("zero", "<u4"),
    ]
)
ACCOUNT = np.dtype(
    [
        ("free_collateral", *I128),
        ("withdrawable", *I128),
        ("generation", "<u8"),
        ("timer", "<u8"),
        ("floor", "<u8"),
        ("collateral", "<i8"),
        ("equity", "<i8"),
        ("index", "<u4"),
        ("nonces", "<u4"),
        ("holdings", "<u4"),
        ("orders", "<u4"),
        ("transfers", "<u4"),
        ("flags", "<u4"),
        ("subaccount", "<u4"),
        ("agents", "<u4"),
        ("owner", "u1", (20,)),
        ("strategies", "<u4"),
        ("used", "u1", (64, 6)),
    ]
)
STRATEGY = np.dtype(
    [
        *((n, "<u8") for n in ("client_id", "until", "queue", "next", "done")),
        *((n, "<i8") for n in ("low", "high", "best")),
        *((n, "<u4") for n in ("place", "offset_ppm", "quantity", "every")),
        *((n, "<i4") for n in ("trigger_price", "limit_price")),
        ("instrument", "<u2"),
        *((n, "u1") for n in ("kind", "side", "trigger", "fired")),
        ("zero", "u1", (2,)),
    ]
)
AGENT = np.dtype(
    [
        ("expiry", "<u8"),
        ("appointed", "<u8"),
        ("floor", "<u8"),
        ("max_life", "<u4"),
        ("nonces", "<u4"),
        ("address", "u1", (20,)),
        ("zero", "u1", (4,)),
        ("used", "u1", (64, 6)),
    ]
)
HOLDING = np.dtype(
    [
        ("entry", *I128),
        ("loss", *I128),
        ("basis", *I128),
        ("size", "<i8"),
        ("lots", "<i8", (2,)),
        ("instrument", "<u4"),
        ("zero", "<u4"),
        ("funding", "<i8"),
        ("zeros", "<i8"),
    ]
)
RESTING = np.dtype(
    [
        ("client_id", "<u8"),
        ("queue", "<u8"),
        *((n, "<u4") for n in ("account", "handle", "instrument", "remaining", "held", "peak", "tag")),
        ("price", "<i4"),
        *((n, "u1") for n in ("side", "time_in_force", "self_trade", "reduce_only", "dropped", "resting")),
        ("zero", "u1", (2,)),
    ]
)
PLAIN = np.dtype(
    [
        (name, "<u8")
        for name in (
            "number",
            "time",
            "row_count",
            "message_count",
            "rows",
            "structs",
            "signers",
            "is_signed",
        )
    ]
)
RAN = np.dtype(
    [
        *((name, "<u8") for name in ("outcome_end", "records_end", "last_seq")),
        *((name, "<u4") for name in ("refused", "reason")),
        ("fence", FENCE),
        ("log_digest", "V32"),
    ]
)
ROOMS = np.dtype(
    [
        (name, "<u8")
        for name in (
            "messages",
            "addresses",
            "ones",
            "outcomes",
            "outcomes_end",
            "records",
            "records_end",
        )
    ]
)
OWNER = np.dtype([("generation", "<u8"), ("owner", "u1", (20,)), ("zero", "u1", (4,))])
_AVERAGE = np.dtype([("total", *I128), ("time", "<u8"), ("elapsed", "<u8"), ("value", "<i8"), ("is", "<u8")])
MARKET = np.dtype(
    [
        ("dust", *I128),
        ("funding_dust", *I128),
        ("impact", _AVERAGE),
        ("premium", _AVERAGE),
        ("window", _AVERAGE),
        *((n, "<u8") for n in ("mark_time", "open_interest", "trade_time", "begun", "until")),
        *((n, "<i8") for n in ("mark", "last_trade", "basis", "index", "cumulative")),
        ("heard", "<u8"),
        ("last_index", "<i8"),
        *((n, "<u4") for n in ("number", "status", "in_window", "zero")),
    ]
)
_OBSERVED = np.dtype([("value", "<i8"), ("time", "<u8"), ("number", "<u8"), ("is", "<u8")])
FEED = np.dtype(
    [
        ("index", "<i8"),
        ("time", "<u8"),
        ("number", "<u4"),
        ("counted", "<u4"),
        ("observed", _OBSERVED, (16,)),
    ]
)


def wide(words: Any) -> int:
    """The integer of an i128."""
    return int(words[0]) | int(words[1].astype(np.int64)) << 64


@dataclass(frozen=True)
class Capacity:
    """How much there may be of what the configuration does not bound.

    Attributes:
        accounts: of the venue.
        messages: of a slot, authorisations, deposits, operations and forced requests included.
        inputs: of a batch.
        withdrawals: of a batch.
    """

    accounts: int = 1 << 14
    messages: int = 1 << 12
    inputs: int = 1 << 17
    withdrawals: int = 1 << 14

    def doubled(self) -> "Capacity":
        """Twice as much of everything."""
        return replace(self, **{name: 2 * value for name, value in vars(self).items()})


_COUNTS = (
    "observation_count",
    "operation_count",
    "deposit_count",
    "request_count",
    "row_count",
    "message_count",
    "authorised",
)
_ARRAYS = ("observations", "operations", "deposits", "requests", "rows", "is_signed", "signers", "structs")


class SlotStruct(ctypes.Structure):
    """``hawse_state_slot``."""

    _fields_ = [
        *((name, c_uint64) for name in ("number", "time", "closes")),
        *((name, c_uint32) for name in ("closing", "unfit")),
        *((name, c_uint64) for name in _COUNTS),
        *((name, c_void_p) for name in _ARRAYS),
    ]


class MadeStruct(ctypes.Structure):
    """``hawse_state_made``."""

    _fields_ = [
        (name, c_uint64)
        for name in (
            "first_seq",
            "inputs",
            "order_count",
            "refusal_count",
            "event_count",
            "machine_count",
            "message_count",
            "fill_count",
            "transfer_count",
        )
    ] + [
        (name, c_void_p)
        for name in (
            "orders",
            "refusals",
            "events",
            "machine",
            "message_seqs",
            "fill_fees",
            "transfers",
            "input_leaves",
            "outcome_leaves",
            "input_hashes",
            "outcome_hashes",
        )
    ]


class _CapacityStruct(ctypes.Structure):
    _fields_ = [(name, c_uint64) for name in ("accounts", "messages", "inputs", "withdrawals")]


@cache
def library(*flags: str) -> ctypes.CDLL:
    """The native library, its functions with their types."""
    native = ctypes.CDLL(str(state_library(*flags)))
    capacity, made = POINTER(_CapacityStruct), POINTER(MadeStruct)
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "size": (c_size_t, (c_void_p, c_size_t, capacity)),
        "new": (c_void_p, (c_void_p, c_size_t, c_void_p, c_size_t, capacity, c_void_p)),
        "open": (c_int, (c_void_p, POINTER(SlotStruct), made)),
        "clear": (c_int, (c_void_p, c_void_p, c_size_t, made)),
        "seal": (c_int, (c_void_p, c_void_p)),
        "turn": (c_int, (c_void_p,)),
        "root": (c_int, (c_void_p, c_void_p)),
        "snapshot": (c_int64, (c_void_p, c_void_p, c_size_t)),
        "restore": (c_int, (c_void_p, c_void_p, c_size_t)),
        "count": (None, (c_void_p, c_void_p)),
        "find": (c_int64, (c_void_p, c_void_p, c_uint32)),
        "read_rules": (None, (c_void_p, c_void_p)),
        "read_agents": (None, (c_void_p, c_uint32, c_void_p)),
        "read_account": (c_int, (c_void_p, c_uint32, c_void_p)),
        "read_holdings": (None, (c_void_p, c_uint32, c_void_p)),
        "read_strategies": (None, (c_void_p, c_uint32, c_void_p)),
        "read_orders": (None, (c_void_p, c_uint32, c_void_p)),
        "client_ids": (None, (c_void_p, c_void_p, c_size_t, c_void_p)),
        "sole_signers": (c_int, (c_void_p, c_void_p, c_size_t, c_void_p)),
        "read_owners": (None, (c_void_p, c_void_p, c_size_t)),
        "read_markets": (None, (c_void_p, c_void_p)),
        "read_feeds": (None, (c_void_p, c_void_p)),
        "read_exits": (c_size_t, (c_void_p, c_void_p, c_void_p)),
        "shortfall": (c_int, (c_void_p, c_void_p)),
        "resting": (c_size_t, (c_void_p, c_void_p, c_size_t)),
        "proof": (c_size_t, (c_void_p, c_uint32, c_void_p)),
        "links": (c_size_t, (c_void_p, c_size_t, c_void_p, c_void_p, c_size_t, c_void_p)),
        "together": (c_size_t, (*(c_void_p,) * 3, c_size_t, *(c_void_p,) * 3)),
        "structs": (None, (*(c_void_p,) * 4, c_size_t, c_void_p)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(native, f"hawse_state_{name}")
        function.restype, function.argtypes = result, arguments
    return native


def copied(pointer: int | None, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array of its own of what stands at a pointer."""
    out = np.empty(count, dtype)
    if count:
        ctypes.memmove(out.ctypes.data, pointer or 0, count * dtype.itemsize)
    return out


class State:
    """One native machine in memory of its own.

    Args:
        config: canonical bytes of the venue's configuration.
        capacity: of what those do not bound.
        flags: for the compiler: a measurement may want another library than everybody's.
    """

    def __init__(self, config: bytes, capacity: Capacity, *flags: str) -> None:
        self.capacity = capacity
        native = library(*flags)
        sizes = _CapacityStruct(*vars(capacity).values())
        size = self.size_of(config, capacity, *flags)
        if not size:
            raise ValueError("config: the native state does not know its rules; --state golden does")
        reserve = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        # Zeroed, at the beginning of a page, and really there only where it is written.
        self._memory = mmap.mmap(-1, size, flags=reserve)
        if size >= _LARGE and hasattr(mmap, "MADV_HUGEPAGE"):
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        self._block = (c_uint8 * size).from_buffer(self._memory)
        seed = os.urandom(16)
        self._it = native.hawse_state_new(
            ctypes.addressof(self._block), size, config, len(config), byref(sizes), seed
        )
        assert self._it, "a machine of the size that was said"
        self.bytes = int(size)
        self._native = native

    @staticmethod
    def size_of(config: bytes, capacity: Capacity, *flags: str) -> int:
        """Bytes that a machine takes; 0 for a configuration that it does not know."""
        sizes = _CapacityStruct(*vars(capacity).values())
        return int(library(*flags).hawse_state_size(config, len(config), byref(sizes)))

    def _call(self, name: str) -> Callable[..., Any]:
        return getattr(self._native, f"hawse_state_{name}")  # type: ignore[no-any-return]

    def open(self, slot: SlotStruct, made: MadeStruct) -> int:
        """Apply a slot's inputs."""
        return int(self._call("open")(self._it, byref(slot), byref(made)))

    def clear(self, events: Array, made: MadeStruct) -> int:
        """Apply the engine's reports, a contiguous array of EVENT."""
        return int(self._call("clear")(self._it, events.ctypes.data, len(events), byref(made)))

    def together(self, engine: NDArray[Any], slots: Array, ran: Array, rooms: Array) -> tuple[int, int]:
        """How many PLAIN were carried out, and why no more; ``ran`` has RAN for them, ``rooms`` a ROOMS."""
        why = c_int()
        at = engine.ctypes.data, slots.ctypes.data, len(slots), ran.ctypes.data, rooms.ctypes.data
        return int(self._call("together")(self._it, *at, byref(why))), why.value

    def seal(self, out: Array) -> int:
        """End a batch; ``out`` is one BATCH_MADE."""
        return int(self._call("seal")(self._it, out.ctypes.data))

    def turn(self) -> int:
        """End a batch that another machine seals."""
        return int(self._call("turn")(self._it))

    def root(self) -> bytes | None:
        """Root of the whole state; None within a slot."""
        out = ctypes.create_string_buffer(32)
        return out.raw if self._call("root")(self._it, out) == OK else None

    def snapshot(self) -> bytes | None:
        """All of the machine; None within a slot."""
        size = self._call("snapshot")(self._it, None, 0)
        if size < 0:
            return None
        out = np.empty(size, np.uint8)
        self._call("snapshot")(self._it, out.ctypes.data, size)
        return out.tobytes()

    def restore(self, data: bytes) -> int:
        """Into a new machine."""
        return int(self._call("restore")(self._it, data, len(data)))

    def counters(self) -> np.void:
        """One COUNTERS."""
        out = np.zeros(1, COUNTERS)
        self._call("count")(self._it, out.ctypes.data)
        return out[0]  # type: ignore[no-any-return]

    def find(self, owner: bytes, subaccount: int) -> int:
        """Index of an owner's subaccount, or -1."""
        return int(self._call("find")(self._it, owner, subaccount))

    def rules(self, size: int) -> bytes:
        """Body of the rules in force."""
        out = np.empty(size, np.uint8)
        self._call("read_rules")(self._it, out.ctypes.data)
        return out.tobytes()

    def agents(self, index: int, count: int) -> Array:
        """AGENT rows of an account, as they were appointed."""
        out = np.zeros(count, AGENT)
        self._call("read_agents")(self._it, index, out.ctypes.data)
        return out

    def account(self, index: int) -> tuple[np.void, bool] | None:
        """One ACCOUNT, and whether its equity left int64; None if there is none."""
        out = np.zeros(1, ACCOUNT)
        found = self._call("read_account")(self._it, index, out.ctypes.data)
        return None if found == UNFIT else (out[0], found == OVERFLOW)

    def owners(self, count: int) -> Array:
        """OWNER rows of the first accounts."""
        out = np.zeros(count, OWNER)
        self._call("read_owners")(self._it, out.ctypes.data, count)
        return out

    def exits(self, count: int) -> tuple[Array, Array]:
        """Accounts and positions as of ``hawse.commit.data``; ``count`` is the number of accounts."""
        accounts = np.empty(count, data.ACCOUNT)
        positions = np.empty(self._call("read_exits")(self._it, None, None), data.POSITION)
        self._call("read_exits")(self._it, accounts.ctypes.data, positions.ctypes.data)
        return accounts, positions

    def holdings(self, index: int, count: int) -> Array:
        """HOLDINGs of an account, by instrument."""
        out = np.zeros(count, HOLDING)
        self._call("read_holdings")(self._it, index, out.ctypes.data)
        return out

    def orders(self, index: int, count: int) -> Array:
        """RESTING rows of an account's orders, the newest first."""
        out = np.zeros(count, RESTING)
        self._call("read_orders")(self._it, index, out.ctypes.data)
        return out

    def strategies(self, index: int, count: int) -> Array:
        """STRATEGY rows of an account, in no order."""
        out = np.zeros(count, STRATEGY)
        self._call("read_strategies")(self._it, index, out.ctypes.data)
        return out

    def sole_signers(self, indices: NDArray[np.uint32]) -> NDArray[np.uint8] | None:
        """Owners, of 20 bytes, of accounts that they alone sign for; None if one is none of these."""
        indices, out = np.ascontiguousarray(indices), np.empty((len(indices), 20), np.uint8)
        at = indices.ctypes.data, len(indices), out.ctypes.data
        return out if self._call("sole_signers")(self._it, *at) else None

    def client_ids(self, handles: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Client id of what has each handle or had it last."""
        out = np.empty(len(handles), np.uint64)
        handles = np.ascontiguousarray(handles, np.uint64)
        self._call("client_ids")(self._it, handles.ctypes.data, len(handles), out.ctypes.data)
        return out

    def markets(self, count: int) -> Array:
        """MARKET rows of all instruments."""
        out = np.zeros(count, MARKET)
        self._call("read_markets")(self._it, out.ctypes.data)
        return out

    def feeds(self, count: int) -> Array:
        """FEED rows of all underlyings."""
        out = np.zeros(count, FEED)
        self._call("read_feeds")(self._it, out.ctypes.data)
        return out

    def shortfall(self) -> int | None:
        """What accounts below zero owe; None if that leaves int64."""
        out = np.zeros(2, np.uint64)
        left = self._call("shortfall")(self._it, out.ctypes.data)
        return None if left else wide(out)

    def resting(self) -> Array:
        """RESTING rows of the resting orders, in the order of their tree."""
        out = np.zeros(self._call("resting")(self._it, None, 0), RESTING)
        self._call("resting")(self._it, out.ctypes.data, len(out))
        return out

    def proof(self, account: int) -> tuple[bytes, ...]:
        """Siblings of an account's leaf as of the last root."""
        out = np.empty((32, 32), np.uint8)
        count = self._call("proof")(self._it, account, out.ctypes.data)
        return tuple(out[n].tobytes() for n in range(count))
