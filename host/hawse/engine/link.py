"""The link to a board: its protocol without I/O, and the engine behind a serial port or socket."""

from collections import deque

from hawse.wire.frame import Deframer, Frame, FrameType, check_payload, encode

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
            elif frame.type == FrameType.RESET_DONE or not self._opening:
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
