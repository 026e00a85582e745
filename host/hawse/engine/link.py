"""The link to a board: its protocol without I/O, and the engine behind a serial port or socket."""

import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable

import numpy as np
import serial

from hawse.wire import BEAT_BYTES, VERSION, Geometry, Kind, Opcode
from hawse.wire.dtypes import COMMAND, HELLO, Array, make
from hawse.wire.frame import MAX_PAYLOAD, Deframer, Frame, FrameType, check_payload, encode

from .backend import TWO_BEATS, EngineError, EngineLost, beats, check_commands

_MODULO = 1 << 16


class LinkEnd:
    """One end of the link of docs/wire.md: go-back-N with epochs and credits, without I/O and clock.

    Feed it what arrives with :meth:`receive`, take payloads from :attr:`received`, hand it payloads with
    :meth:`send`, and put on the line what :meth:`tick` returns. Both ends are alike, but that the host
    asks for resets and the board answers foreign epochs.

    Args:
        board: be the board; otherwise the host.
        window: most DATA frames on their way, unacknowledged.
        slots: frames that :attr:`received` may hold.
        timeout: seconds without progress after which everything unacknowledged is sent again.

    Attributes:
        epoch: 0 until the first reset, and then nothing but resets is exchanged.
        received: payloads in order; taking one out frees its slot. A reset empties it.
        resets: how often this end began a new epoch.
        foreign: epoch of the last frame of another epoch since the last reset; None without.
        progress: payloads received and payloads acknowledged by the other end, since the last reset.
    """

    def __init__(
        self, *, board: bool = False, window: int = 8, slots: int = 8, timeout: float = 0.25
    ) -> None:
        if not 1 <= window <= 255 or not 1 <= slots <= 255:
            raise ValueError(f"window {window}, slots {slots}: not within 1..255")
        self.board, self.window, self.slots, self.timeout = board, window, slots, timeout
        self.resets = -1
        self._deframer = Deframer()
        self._begin(0)

    def _begin(self, epoch: int) -> None:
        self.epoch = epoch
        self.resets += 1
        self.received: deque[bytes] = deque()
        self.foreign: int | None = None
        self.progress = 0
        self._opening = False  # host: RESET sent, not answered yet
        self._ping_due = False
        self._done_due = False
        self._ack_due = False
        self._expected = 0  # seq of the next payload
        self._promised = 0  # ack + credits of the last frame sent
        self._out: deque[bytes] = deque()  # unacknowledged payloads, then unsent ones
        self._base = 0  # seq of the first of them
        self._sent = 0  # how many are on their way
        self._high = 0  # how many were sent at least once
        self._credits = 0  # how many the other end can take
        self._deadline = 0.0

    @property
    def dropped(self) -> int:
        """Pieces of the stream that were no frames."""
        return self._deframer.dropped

    @property
    def open(self) -> bool:
        """Whether an epoch is agreed, as far as this end knows."""
        return self.epoch > 0 and not self._opening

    @property
    def outstanding(self) -> int:
        """Payloads sent or waiting, not yet acknowledged."""
        return len(self._out)

    def reset(self, epoch: int) -> None:
        """Host: forget everything and ask the board to begin ``epoch``, until it answers."""
        if self.board or not 0 < epoch < 1 << 32:
            raise ValueError(f"epoch {epoch}: not within 1..2**32-1, or not the host's end")
        self._begin(epoch)
        self._opening = True

    def ping(self) -> None:
        """Host: have the board tell its epoch; it changes nothing."""
        self._ping_due = True

    def send(self, payload: bytes) -> None:
        """Queue a payload.

        Raises:
            FrameError: it is not 32 to 256 bytes, a multiple of 32.
        """
        check_payload(payload)
        self._out.append(payload)

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes from the line at ``now`` seconds."""
        for frame in self._deframer.feed(data):
            if frame.type == FrameType.RESET:
                if self.board:
                    self._asked_to_reset(frame)
            elif frame.epoch != self.epoch or not self.epoch:
                self.foreign = frame.epoch
                self._ack_due |= self.board
            else:
                if self._opening:  # what came before was sent before the board was reset
                    self.foreign = None
                self._opening = False
                self._acknowledged(frame, now)
                if frame.type == FrameType.DATA:
                    self._ack_due = True
                    if frame.seq == self._expected and len(self.received) < self.slots:
                        self.received.append(frame.payload)
                        self._expected = (self._expected + 1) % _MODULO
                        self.progress += 1

    def _asked_to_reset(self, frame: Frame) -> None:
        if frame.epoch > self.epoch:
            self._begin(frame.epoch)
            self._credits = frame.credits
        if frame.epoch == self.epoch:
            self._done_due = True
        else:
            self._ack_due = True

    def _acknowledged(self, frame: Frame, now: float) -> None:
        count = (frame.ack - self._base) % _MODULO
        if count > self._high:  # older than the last, doubled by the line
            return
        self._credits = frame.credits
        if count:
            for _ in range(count):
                self._out.popleft()
            self._base = frame.ack
            self._sent = max(0, self._sent - count)
            self._high -= count
            self._deadline = now + self.timeout
            self.progress += count

    def tick(self, now: float) -> bytes:
        """What to put on the line at ``now``. Call it after every receive, and often within a timeout."""
        line = []
        if self._ping_due:
            self._ping_due = False
            line.append(encode(Frame(FrameType.RESET, 0, 0, 0, 0)))
        if self._opening:
            if now >= self._deadline:
                self._deadline = now + self.timeout
                line.append(self._frame(FrameType.RESET))
            return b"".join(line)
        if self._done_due:
            self._done_due = False
            line.append(self._frame(FrameType.RESET_DONE))
        if self.epoch:
            self._send_data(line, now)
            # A sender short of credits hears of new ones, though nothing else is to be said.
            fresh = (self._promise() - self._promised) % _MODULO
            self._ack_due |= fresh >= (self.slots + 1) // 2
        if self._ack_due:
            line.append(self._frame(FrameType.ACK))
        return b"".join(line)

    def _send_data(self, line: list[bytes], now: float) -> None:
        allowed = self._credits
        if not self._out:
            self._deadline = now + self.timeout
        elif now >= self._deadline:
            self._sent = 0
            # A frame beyond the credits asks for them again: the frame that brought them may be lost.
            allowed = max(allowed, 1)
        for at in range(self._sent, min(self.window, allowed, len(self._out))):
            line.append(self._frame(FrameType.DATA, at, self._out[at]))
            self._sent = at + 1
            self._deadline = now + self.timeout
        self._high = max(self._high, self._sent)

    def _promise(self) -> int:
        return self._expected + self.slots - len(self.received)

    def _frame(self, kind: FrameType, ahead: int | None = None, payload: bytes = b"") -> bytes:
        seq = (self._base + (self._sent if ahead is None else ahead)) % _MODULO
        self._ack_due = False
        self._promised = self._promise()
        free = self.slots - len(self.received)
        return encode(Frame(kind, free, self.epoch, seq, self._expected, payload))


class LinkTimeout(EngineLost):
    """The board did not answer in time."""


class LinkLost(EngineLost):
    """The port could not be opened, or failed; a reset opens it again."""


class LinkVersionMismatch(EngineError):
    """The board speaks another version of the wire."""


class EngineReset(EngineLost):
    """The board came back in another epoch, ``board_epoch``: it was reset, and what it held is gone."""

    def __init__(self, message: str, board_epoch: int) -> None:
        super().__init__(message)
        self.board_epoch = board_epoch


class EpochTooLow(EngineError):
    """A reset must name an epoch above ``board_epoch``, that of the board."""

    def __init__(self, message: str, board_epoch: int) -> None:
        super().__init__(message)
        self.board_epoch = board_epoch


#: For the first byte of a beat: 1 if it begins a certain answer, which is of two beats.
_ANSWERS = bytes(b & 0x0F in TWO_BEATS for b in range(256))


class _Answers:
    """Counts down the certain answers to ``commands`` as their beats come in."""

    def __init__(self, commands: Array) -> None:
        opcodes = commands["opcode"]
        certain = {Opcode.FENCE: 1, Opcode.CLOSE: 2, Opcode.HELLO: 1}
        self.missing = sum(n * int(np.count_nonzero(opcodes == op)) for op, n in certain.items())
        #: Of the wire, as the last HELLO has it.
        self.version = VERSION
        self._second = False

    def take(self, payload: bytes) -> None:
        answers = payload[::BEAT_BYTES].translate(_ANSWERS)
        if not self._second and not any(answers):
            return
        for at, answer in enumerate(answers):
            if self._second:
                self._second = False
                self.missing -= 1
            elif answer:
                self._second = True
                kind, version = payload[at * BEAT_BYTES : at * BEAT_BYTES + 2]
                if kind == Kind.HELLO:
                    self.version = version


class LinkBackend:
    """A board behind a serial port, a pseudo-terminal or a TCP socket.

    Opening it begins an epoch: the board is reset, and its geometry read.

    Args:
        url: anything that pyserial's ``serial_for_url`` opens: a device, ``socket://host:port``.
        epoch: the first epoch; one above the board's if left out.
        baudrate: of a serial port.
        patience: seconds without any progress after which the board counts as dead.
        tap: told what passes on the line: True and what goes to the board, False and what comes from it.

    Attributes:
        epoch: in force.

    Raises:
        LinkLost, LinkTimeout, LinkVersionMismatch, EpochTooLow: it could not be opened.
    """

    def __init__(
        self,
        url: str,
        *,
        epoch: int | None = None,
        baudrate: int = 1_000_000,
        patience: float = 10.0,
        tap: Callable[[bool, bytes], None] = lambda _, __: None,
    ) -> None:
        self.name = url
        self._patience = patience
        self._tap = tap
        # Two windows on a serial line, stuffed and of ten bits a byte, must pass within a time-out.
        self._timeout = max(0.25, 2 * 8 * 560 * 10 / baudrate)
        self._end = LinkEnd(timeout=self._timeout)
        self._usable = False
        self._baudrate = baudrate
        self._open()
        self._reopened = False
        try:
            self.reset(self.board_epoch() + 1 if epoch is None else epoch)
            self.geometry = self._read_geometry()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._lost, self._reopened = False, True
        try:
            self._port = serial.serial_for_url(
                self.name, baudrate=self._baudrate, timeout=0, write_timeout=1.0
            )
        except (serial.SerialException, ValueError) as error:
            self._lost = True
            raise LinkLost(f"{self.name}: {error}") from error
        self._fd: int | None
        try:
            self._fd = self._port.fileno()
        except (AttributeError, OSError, ValueError):
            self._fd = None  # Windows, RFC 2217: no descriptor to wait for
            self._port.timeout = 0.01
        if self._fd is not None and self.name.startswith("socket:"):
            with socket.socket(fileno=os.dup(self._fd)) as line:  # acknowledgements must not wait for more
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def epoch(self) -> int:
        """The epoch in force."""
        return self._end.epoch

    def board_epoch(self) -> int:
        """The epoch that the board is in, 0 if it had no reset since power-up. Changes nothing there.

        A port that failed is opened again.

        Raises:
            LinkTimeout, LinkLost: no answer.
        """
        if self._lost:
            self._open()
        while self._read(0):  # what it said before it was asked does not count
            pass
        asking = LinkEnd()  # in no epoch, so that every frame is of a foreign one
        asking.ping()
        self._until(asking, lambda: asking.foreign is not None, "board_epoch")
        assert asking.foreign is not None
        return asking.foreign

    def reset(self, epoch: int) -> None:
        """Begin ``epoch``, with the board as after power-up.

        Raises:
            EpochTooLow: the board's own epoch is not below ``epoch``.
            LinkTimeout, LinkLost: no answer.
            EngineError: the port was opened again, and another board is behind it.
        """
        self._usable = False
        known = self.board_epoch()
        if epoch <= known:
            raise EpochTooLow(f"{self.name}: epoch {epoch} is not above the board's, {known}", known)
        self._end = end = LinkEnd(timeout=self._timeout)
        end.reset(epoch)
        self._until(end, lambda: end.open, f"reset to epoch {epoch}")
        self._usable = True
        if self._reopened and self._read_geometry() != self.geometry:
            self._usable = False
            raise EngineError(f"{self.name}: another board, of another geometry, answers now")
        self._reopened = False

    def exchange(self, commands: Array) -> Array:
        """Carry out ``commands`` as :class:`~hawse.engine.backend.Backend` says.

        After an error nothing but :meth:`reset` helps: it is not known what the board has carried out.

        Raises:
            ValueError: commands that are none, or do not end in FENCE, CLOSE or HELLO.
            EngineReset: the board is in another epoch.
            LinkTimeout, LinkLost: no progress for ``patience`` seconds; the port failed.
            LinkVersionMismatch: a HELLO of another version.
            EngineError: not reset after an error, or more beats than answers.
        """
        commands = check_commands(commands)
        if not self._usable:
            raise EngineError(f"{self.name}: reset it first; an exchange with it failed")
        self._usable = False
        end, answers = self._end, _Answers(commands)
        raw = commands.tobytes()
        for at in range(0, len(raw), MAX_PAYLOAD):
            end.send(raw[at : at + MAX_PAYLOAD])
        got = bytearray()

        def done() -> bool:
            while end.received:
                payload = end.received.popleft()
                got.extend(payload)
                answers.take(payload)
            if answers.version != VERSION:  # its answers may be of other lengths
                spoken = f"the board speaks version {answers.version} of the wire, this host {VERSION}"
                raise LinkVersionMismatch(f"{self.name}: {spoken}")
            if end.foreign is not None:
                raise EngineReset(
                    f"{self.name}: the board is in epoch {end.foreign}, not {end.epoch}", end.foreign
                )
            return answers.missing <= 0

        self._until(end, done, f"exchange of {len(commands)} commands")
        if answers.missing < 0 or end.outstanding:
            raise EngineError(f"{self.name}: beats that no command asked for")
        self._write(end.tick(time.monotonic()))  # acknowledge the last beats
        self._usable = True
        return beats(got)

    def disturb(self, data: bytes) -> None:
        """Put bytes on the line that are no part of the protocol, as a bad line does.

        Raises:
            LinkLost: the port failed.
        """
        self._write(data)

    def read_raw(self, wait: float) -> bytes:
        """What has come, past the protocol: for what is no part of it; waits ``wait`` seconds at most.

        Raises:
            LinkLost: the port failed.
        """
        return self._read(wait)

    def close(self) -> None:
        """Close the port."""
        self._usable = False
        self._port.close()

    def _read_geometry(self) -> Geometry:
        # CLOSE makes the board forget that it has counted a HELLO: it is as after the reset.
        question = np.concatenate([make(COMMAND, opcode=op) for op in (Opcode.HELLO, Opcode.CLOSE)])
        hello = self.exchange(question)[:1].view(HELLO)[0]
        return Geometry(**{f: int(hello[f]) for f in ("instruments", "pool", "orders", "tag_bits")})

    def _until(self, end: LinkEnd, done: Callable[[], bool], what: str) -> None:
        """Keep ``end`` going until ``done()``."""
        progress, since, asked = end.progress, time.monotonic(), time.monotonic()
        while not done():
            now = time.monotonic()
            if end.progress != progress:
                progress, since = end.progress, now
            elif now > since + self._patience:
                raise LinkTimeout(f"{self.name}: {what}: no progress for {self._patience} seconds")
            if now > max(since, asked) + self._timeout:
                end.ping()  # it may be in another epoch, or not have heard the last one
                asked = now
            self._write(end.tick(now))
            if data := self._read(self._timeout / 4):
                end.receive(data, time.monotonic())

    def _write(self, data: bytes) -> None:
        if not data:
            return
        self._tap(True, data)
        try:
            self._port.write(data)
        except serial.SerialTimeoutException:
            pass  # lost on the line; the link sends it again
        except (serial.SerialException, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> LinkLost:
        self._lost = True
        self._port.close()
        return LinkLost(f"{self.name}: {error}")

    def _read(self, wait: float) -> bytes:
        """What has come; waits for something ``wait`` seconds at most."""
        data = b""
        try:
            if self._fd is None:
                data = bytes(self._port.read(self._port.in_waiting or 1))
            elif select.select([self._fd], [], [], wait)[0]:
                data = bytes(self._port.read(1 << 16))
        except (serial.SerialException, OSError) as error:
            raise self._failed(error) from error
        if data:
            self._tap(False, data)
        return data
