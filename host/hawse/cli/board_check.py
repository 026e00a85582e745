"""The self-test of a board, real or virtual: what ``hawse board check`` does, step by step."""

import random
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from hawse_sim.differential import Difference, demand_same
from hawse_sim.flow import adversarial

from hawse.engine import GoldenBackend, even_window
from hawse.engine.backend import EngineError, split
from hawse.engine.link import EngineReset, LinkBackend, LinkLost, LinkTimeout, LinkVersionMismatch
from hawse.engine.probe import ProbeClient
from hawse.wire import ALL_INSTRUMENTS, NULL_HANDLE, Feature, Geometry, InstrumentState, Opcode, Side
from hawse.wire.dtypes import COMMAND, Array, make
from hawse.wire.frame import Deframer, Frame, FrameType, encode
from hawse.wire.probe import SAMPLE, Capturing

#: Frames of either direction that are kept.
FRAMES = 200
_FLAG = b"\x7e"
#: Sizes of the steps: tokens, commands for the rate, single fences, bursts, their size, fillings.
_TOKENS, _RATE, _TRIPS, _BURSTS, _BURST, _ROUNDS = 256, 2000, 200, 12, 150, 4
#: Bytes of the bit test, and the steps for which a board needs a probe.
_BITS = 4096
_OF_PROBE = ("loopback", "bit test", "capture")


class Fault(Exception):
    """What is wrong with a board, or with the way to it, as one sentence."""


@dataclass
class Line:
    """What passed on the line; the ``tap`` of a :class:`LinkBackend`.

    Attributes:
        sent, came: bytes.
        frames: the last ones of both directions, as JSON has them.
        counters: frames by direction, and what was no frame.
    """

    sent: int = 0
    came: int = 0
    frames: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=FRAMES))
    counters: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._deframers = {True: Deframer(), False: Deframer()}
        self._first: dict[bool, bytes] = {True: b"", False: b""}
        self._half = b""
        self._last_seq: tuple[int, int] | None = None

    def __call__(self, to_board: bool, data: bytes) -> None:
        """Note what passes."""
        self._first[to_board] += data[: 64 - len(self._first[to_board])]
        if to_board:
            self.sent += len(data)
        else:
            self.came += len(data)
            self._half = (self._half + data).rpartition(_FLAG)[2]
        for frame in self._deframers[to_board].feed(data):
            self._count("frames_to_board" if to_board else "frames_from_board")
            if to_board and frame.type == FrameType.DATA:
                self._note_again(frame)
            self.frames.append(self._told(to_board, frame))
        for way, name in ((True, "no_frames_to_board"), (False, "no_frames_from_board")):
            self.counters[name] = self._deframers[way].dropped

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1

    def _note_again(self, frame: Frame) -> None:
        """Count frames that were sent before."""
        epoch, seq = self._last_seq or (0, 0)
        again = epoch == frame.epoch and (seq - frame.seq) % (1 << 16) < 1 << 15
        if again:
            self._count("frames_sent_again")
        else:
            self._last_seq = frame.epoch, frame.seq

    def _told(self, to_board: bool, frame: Frame) -> dict[str, Any]:
        told = asdict(frame) | {"type": FrameType(frame.type).name, "payload": frame.payload.hex()}
        seconds = round(time.monotonic() - self._began, 6)
        return {"seconds": seconds, "to": "board" if to_board else "host"} | told

    @property
    def came_frames(self) -> int:
        """Frames from the other side."""
        return self.counters.get("frames_from_board", 0)

    @property
    def half(self) -> int:
        """Bytes of a frame that has not ended."""
        return len(self._half)

    @property
    def begins(self) -> bytes:
        """The first bytes that came."""
        return self._first[False]

    @property
    def echoes(self) -> bool:
        """Whether what came is what was sent."""
        came, sent = self._first[False], self._first[True]
        return len(came) > 0 and sent.startswith(came[: len(sent)])


@dataclass(frozen=True)
class Step:
    """What one step of the test found: a sentence, and the figures behind it."""

    name: str
    says: str
    figures: dict[str, Any]


@dataclass(frozen=True)
class Expected:
    """What the bitstream was built for; None is anything."""

    geometry: Geometry | None = None
    build: str | None = None
    clock_khz: int | None = None


class SelfTest:
    """The self-test of the board behind a port. It resets the board: orders that it holds are gone.

    Args:
        port: device or URL.
        baudrate: of a serial port.
        expected: of its bitstream.
        seed: of the flow, the tokens and the damage.
        patience: seconds without progress after which the board counts as dead.

    Attributes:
        line: what has passed.
        steps: those that were passed.
        trying: name of the step at work; empty before the first and behind the last.
    """

    #: How many there are at most.
    STEPS = 12

    def __init__(
        self, port: str, baudrate: int, expected: Expected, *, seed: int = 1, patience: float = 5.0
    ) -> None:
        self.port, self.baudrate, self.expected, self.seed = port, baudrate, expected, seed
        self._patience = patience
        self._rng = random.Random(seed)
        self.line = Line()
        self.steps: list[Step] = []
        self.trying = ""
        self._has_probe = False
        self._board: LinkBackend | None = None

    def run(self) -> Iterator[Step]:
        """Every step, as it is passed.

        Raises:
            Fault: one was not; those behind it were not tried.
        """
        try:
            for name, step in (
                ("port", self._open),
                ("bitstream", self._know_bitstream),
                ("loopback", self._try_loopback),
                ("bit test", self._try_bits),
                ("link", self._try_link),
                ("bad line", self._try_bad_line),
                ("book", self._try_book),
                ("memories", self._try_memories),
                ("hashing", self._try_hashing),
                ("capture", self._try_capture),
                ("rate", self._measure_rate),
                ("round trips", self._measure_round_trips),
            ):
                if name in _OF_PROBE and not self._has_probe:
                    continue
                self.trying = name
                says, figures = step()
                self.steps.append(Step(name, says, figures))
                yield self.steps[-1]
            self.trying = ""
        except Difference as error:
            told = " ".join(str(error).split())
            raise Fault(f"{self.port}, {self.trying}: not what the golden model says: {told}") from error
        except (EngineError, OSError) as error:
            raise Fault(self._sentence(error)) from error
        finally:
            if self._board:
                self._board.close()

    def _sentence(self, error: Exception) -> str:
        """What is wrong, of what passed on the line and the error that ended it."""
        port, line = self.port, self.line
        if isinstance(error, LinkLost):
            if not line.sent:
                return f"{port} cannot be opened: {error}"
            where = f"in the middle of a frame, of which {line.half} bytes had come" if line.half else "idle"
            return f"{port} went away {where}: was it unplugged? ({error})"
        if isinstance(error, LinkTimeout) and not line.came:
            return (
                f"{port} is silent: {line.sent} bytes were sent, none came within {self._patience:g} s; is "
                "the board powered, its bitstream loaded, and this the one of its ports that is the UART?"
            )
        if isinstance(error, LinkTimeout) and line.echoes:
            return (
                f"{port} sends back what it is sent: {line.came} of {line.sent} bytes; it is a loop, no board"
            )
        if isinstance(error, LinkTimeout) and not line.came_frames:
            return (
                f"{port} is something else, or not at {self.baudrate} bit/s: {line.came} bytes came, and no "
                f"frame of the link among them; they begin with {line.begins[:16].hex(' ')}"
            )
        if isinstance(error, LinkTimeout):
            return f"{port} fell silent after {line.came_frames} frames: {error}"
        if isinstance(error, LinkVersionMismatch):
            return f"{error}: its bitstream is of another version of the gateware"
        if isinstance(error, EngineReset):
            return f"{error}: it was reset, or lost power, during the test"
        return str(error)

    @property
    def board(self) -> LinkBackend:
        """The board, opened."""
        assert self._board
        return self._board

    def _afresh(self) -> GoldenBackend:
        """Board and golden model as after power-up, in one epoch."""
        golden = GoldenBackend(self.board.geometry)
        epoch = self.board.epoch + 1
        self.board.reset(epoch)
        golden.reset(epoch)
        return golden

    def _both(self, golden: GoldenBackend, commands: Array) -> Array:
        """What the board answers, which must be what the golden model answers."""
        got = self.board.exchange(commands)
        demand_same((self.port, "golden"), got, golden.exchange(commands))
        return got

    def _open(self) -> tuple[str, dict[str, Any]]:
        self._board = LinkBackend(self.port, baudrate=self.baudrate, patience=self._patience, tap=self.line)
        return (f"a board answers; the test begins epoch {self.board.epoch}", {})

    def _know_bitstream(self) -> tuple[str, dict[str, Any]]:
        told = split(self.board.exchange(make(COMMAND, opcode=Opcode.HELLO)))
        hello, build = told.hellos[0], told.builds[0]
        build_id = build[["build_low", "build_high"]].tobytes()[:16].hex()
        geometry, clock = self.board.geometry, int(build["clock_khz"])
        wanted = self.expected
        if wanted.geometry is not None and wanted.geometry != geometry:
            raise Fault(f"another bitstream: it is of {geometry}, and {wanted.geometry} was expected")
        if wanted.build is not None and wanted.build != build_id:
            raise Fault(f"another bitstream: it is build {build_id}, and {wanted.build} was expected")
        if wanted.clock_khz is not None and wanted.clock_khz != clock:
            raise Fault(f"another bitstream: its clock is {clock} kHz, and {wanted.clock_khz} was expected")
        self._has_probe = bool(int(build["features"]) & Feature.CAPTURE)
        figures = {
            "version": int(hello["version"]),
            "geometry": asdict(geometry),
            "build": build_id,
            "clock_khz": clock,
            "features": int(build["features"]),
            "hello": told.hellos.tobytes().hex() + told.builds.tobytes().hex(),
        }
        what = f"build {build_id}" if int(build_id, 16) else "no build id, as of a virtual board"
        return (f"{geometry}, {what}, {clock / 1000:g} MHz", figures)

    def _probe(self) -> ProbeClient:
        return ProbeClient(self.board, patience=self._patience)

    def _try_loopback(self) -> tuple[str, dict[str, Any]]:
        probe = self._probe()
        for size in range(0, 256, 4):
            payload = self._rng.randbytes(size)
            if (back := probe.loop(payload)) != payload:
                raise Fault(
                    f"{self.port}: of {size} bytes that were to come back, {len(back)} came, or others"
                )
        return "64 frames of 4 to 256 bytes came back, past link and book", {"frames": 64}

    def _try_bits(self) -> tuple[str, dict[str, Any]]:
        found = self._probe().bit_test(_BITS)
        if not found.clean:
            raise Fault(
                f"{self.port}: of {found.sent} bytes each way {found.to_board} reached the board, "
                f"{found.to_board_wrong} bits of them wrong, and {found.from_board} the host, "
                f"{found.from_board_wrong} wrong"
            )
        return f"{8 * found.sent} pseudo-random bits each way, none wrong", asdict(found)

    def _try_capture(self) -> tuple[str, dict[str, Any]]:
        """The buffer must tell the commands that were sent, and stop where it was told to."""
        golden, probe = self._afresh(), self._probe()
        commands = self._fences(40)
        commands["opcode"][:30] = 0  # rejected, so that each has one report
        mask = value = 0
        for name, low, width in SAMPLE:
            wanted = {"command": 1, "opcode": int(Opcode.FENCE)}.get(name)
            if wanted is not None:
                mask |= ((1 << width) - 1) << low
                value |= wanted << low
        probe.arm(mask, value, after=5)
        self._both(golden, commands)
        state, *_ = probe.state()
        entries, trigger = probe.entries()
        came = [e.fields for e in entries if e.fields["command"]]
        seen = [(e["opcode"], e["seq"]) for e in came]
        sent = [(int(c["opcode"]), int(c["seq"]) & 0xFF_FFFF) for c in commands][: len(seen)]
        first = next(
            (n for n, e in enumerate(entries) if e.fields["command"] and e.fields["opcode"] == 7), None
        )
        if (state, seen, trigger) != (Capturing.FULL, sent, first) or len(entries) != (first or 0) + 6:
            raise Fault(
                f"{self.port}: the capture buffer is {state.name}, its trigger {trigger} of {len(entries)} "
                f"entries; expected were FULL, {first} of {(first or 0) + 6}, and the commands as sent"
            )
        return f"{len(entries)} entries around the first FENCE, as they were sent", {"entries": len(entries)}

    def _fences(self, count: int) -> Array:
        """FENCEs with pseudo-random tokens, of which each bit is both in time."""
        out = np.zeros(count, COMMAND)
        out["opcode"] = Opcode.FENCE
        out["token"] = [self._rng.getrandbits(32) for _ in range(count)]
        out["seq"] = [self._rng.getrandbits(64) for _ in range(count)]
        return out

    def _try_link(self) -> tuple[str, dict[str, Any]]:
        golden = self._afresh()
        self._both(golden, self._fences(_TOKENS))
        return (f"{_TOKENS} pseudo-random tokens came back as they were", {"tokens": _TOKENS})

    def _try_bad_line(self) -> tuple[str, dict[str, Any]]:
        """Garbage, a damaged frame, a frame without an end and one twice: each command counts once."""
        golden = self._afresh()
        end = Frame(FrameType.DATA, 8, self.board.epoch, 0, 0, self._fences(1).tobytes())
        good = encode(end)
        middle = len(good) // 2
        damaged = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]
        bad = [self._rng.randbytes(100), damaged, good[:middle], encode(end)[:-1], damaged + damaged]
        # The whole frame is heard out of turn by nobody: its number is not the one that comes next.
        self._both(golden, self._fences(8))
        for piece in bad:
            self.board.disturb(piece + _FLAG)
            self._both(golden, self._fences(8))
        return (f"{len(bad)} kinds of damage; no command was lost or doubled", {"kinds": len(bad)})

    def _try_book(self) -> tuple[str, dict[str, Any]]:
        golden, rng = self._afresh(), np.random.default_rng(self.seed)
        geometry = self.board.geometry
        beats = len(self._both(golden, adversarial.opening(geometry)))
        for _ in range(_BURSTS):
            beats += len(self._both(golden, adversarial.commands(rng, geometry, _BURST)))
        count = _BURSTS * _BURST
        says = f"{count} commands of all kinds, {beats} beats as of the golden model (seed {self.seed})"
        return (says, {"commands": count, "beats": beats, "seed": self.seed})

    def _try_memories(self) -> tuple[str, dict[str, Any]]:
        """An order at every handle, spread over the levels; all told by DUMP, and all cancelled."""
        golden, geometry = self._afresh(), self.board.geometry
        rounds = min(_ROUNDS, max(1, geometry.pool // geometry.orders))
        beats, levels = 0, set[int]()
        for number in range(rounds):
            for commands in _full(geometry, number, rounds, self._rng):
                levels |= _levels(commands)
                beats += len(self._both(golden, commands))
        figures = {"orders": geometry.orders, "levels": len(levels), "beats": beats}
        says = (
            f"{geometry.orders} handles and {len(levels)} of {geometry.pool} levels held what they were given"
        )
        return (says, figures)

    def _try_hashing(self) -> tuple[str, dict[str, Any]]:
        """Logs of every length up to a few leaves, a digest behind each, and their roots."""
        golden = self._afresh()
        parts, fences, batches = [], 0, 0
        for length in range(48):
            rejected = np.zeros(length, COMMAND)  # opcode 0: a record with this price in it
            rejected["price"] = [self._rng.getrandbits(31) for _ in range(length)]
            closes = length % 6 == 5
            end = make(COMMAND, opcode=Opcode.CLOSE if closes else Opcode.FENCE, token=length)
            parts += [rejected, end]
            fences, batches = fences + 1, batches + closes
        got = split(self._both(golden, np.concatenate(parts)))
        assert len(got.fences) == fences and len(got.batches) == batches
        says = f"{fences} digests and {batches} roots as of the golden model"
        return (says, {"digests": fences, "roots": batches})

    def _measure_rate(self) -> tuple[str, dict[str, Any]]:
        self._afresh()
        commands = np.zeros(_RATE, COMMAND)
        commands["opcode"] = Opcode.CANCEL
        commands["handle"] = NULL_HANDLE
        commands["opcode"][-1] = Opcode.FENCE
        sent, came, begin = self.line.sent, self.line.came, time.perf_counter()
        self.board.exchange(commands)
        seconds = time.perf_counter() - begin
        rates = {
            "commands_per_s": round(_RATE / seconds),
            "bytes_per_s_to_board": round((self.line.sent - sent) / seconds),
            "bytes_per_s_from_board": round((self.line.came - came) / seconds),
        }
        says = "{commands_per_s:,} commands/s, {bytes_per_s_to_board:,} bytes/s out".format(**rates)
        return (f"{says}, {rates['bytes_per_s_from_board']:,} bytes/s back", rates)

    def _measure_round_trips(self) -> tuple[str, dict[str, Any]]:
        self._afresh()
        question, took = make(COMMAND, opcode=Opcode.FENCE), []
        for _ in range(_TRIPS):
            begin = time.perf_counter()
            self.board.exchange(question)
            took.append(1e6 * (time.perf_counter() - begin))
        cuts = {"p50": 50, "p90": 90, "p99": 99, "max": 100}
        spread = {f"{name}_us": round(float(np.percentile(took, at)), 1) for name, at in cuts.items()}
        says = ", ".join(f"{name} {spread[f'{name}_us']:,} µs" for name in cuts)
        return (f"{says} of {_TRIPS}", spread | {"count": _TRIPS})


def _windows(geometry: Geometry) -> list[tuple[int, int]]:
    """First level and levels of each instrument's equal share, of as many instruments as find room."""
    out: list[tuple[int, int]] = []
    with suppress(ValueError):
        for instrument in range(geometry.instruments):
            out.append(even_window(geometry, instrument))
    return out


def _full(geometry: Geometry, number: int, rounds: int, rng: random.Random) -> Iterator[Array]:
    """Bursts that fill every handle with orders of pseudo-random content, tell them all, and cancel them all.

    Of ``rounds`` fillings, number ``number`` has levels between those of the others.
    """
    windows = _windows(geometry)
    handles = list(range(geometry.orders))
    rng.shuffle(handles)
    for instrument, (first, count) in enumerate(windows):
        own = handles[instrument :: len(windows)]
        where = {"opcode": Opcode.STATE, "instrument": instrument}
        base = rng.randrange(-(1 << 31), (1 << 31) - count)
        loading = {"quantity": InstrumentState.LOADING, "handle": first, "token": count, "price": base}
        orders = np.zeros(len(own), COMMAND)
        orders["opcode"], orders["instrument"], orders["handle"] = Opcode.LOAD, instrument, own
        place = np.arange(len(own)) * max(1, count // len(own)) + number * max(1, count // len(own) // rounds)
        place %= count
        orders["price"] = base + place
        orders["flags"] = np.where(place < count // 2, Side.BUY, Side.SELL)
        orders["tag"] = [rng.getrandbits(geometry.tag_bits) for _ in own]
        orders["quantity"] = [1 + rng.randrange((1 << 32) - 1) for _ in own]
        tell = make(COMMAND, opcode=Opcode.DUMP, instrument=instrument)
        opened = make(COMMAND, **where, quantity=InstrumentState.OPEN)
        fence = make(COMMAND, opcode=Opcode.FENCE)
        yield np.concatenate([make(COMMAND, **where, **loading), orders, opened, tell, fence])
    everything = make(COMMAND, opcode=Opcode.MASS_CANCEL, instrument=ALL_INSTRUMENTS)
    yield np.concatenate([everything, make(COMMAND, opcode=Opcode.FENCE)])


def _levels(commands: Array) -> set[int]:
    """Levels of the pool that the LOADs among ``commands``, of one instrument, have orders at."""
    loads, states = (commands[commands["opcode"] == op] for op in (Opcode.LOAD, Opcode.STATE))
    if not len(loads):
        return set()
    return set((states["handle"][0] + loads["price"].astype(np.int64) - states["price"][0]).tolist())
