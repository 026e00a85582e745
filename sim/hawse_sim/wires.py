"""A board as gates, over the two wires of its UART, as an engine in this process."""

import ctypes
from collections.abc import Callable
from typing import Any

from hawse.engine.backend import EngineError, beats, check_commands
from hawse.engine.link import LinkEnd, _Answers
from hawse.wire import Geometry
from hawse.wire.dtypes import Array
from hawse.wire.frame import MAX_PAYLOAD
from hawse_hdl.boards import ECP5Board

from .rtl import load
from .verilate import announce_build, build_library

_HANDLE, _U64, _BYTES = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "hawse_wires_new": (_HANDLE, [ctypes.c_uint32, ctypes.c_uint8]),
    "hawse_wires_free": (None, [_HANDLE]),
    "hawse_wires_button": (None, [_HANDLE, ctypes.c_uint8]),
    "hawse_wires_cycles": (_U64, [_HANDLE]),
    "hawse_wires_run": (ctypes.c_int64, [_HANDLE, _BYTES, _U64, _BYTES, _U64, _U64]),
}
_BUFFER = 1 << 16
#: Clock cycles of the appliance: between two looks at what came back, and in which all must have come.
_STRETCH, _PATIENCE = 500, 5_000_000
_UP, _DOWN = 1, 0


class NetlistBoard:
    """Engine backend of the netlist of a board: link, UART, PLL, block RAMs, as synthesized.

    Time is counted in clock cycles. The first use of a board and its parameters synthesizes and compiles it,
    which takes minutes.

    Args:
        kind: of board.
        geometry: of the book.
        hash_cores: of the log.
        clock_hz: of the appliance; with ``baudrate``, how many of its cycles a bit takes.
        baudrate: of the UART.
        announce: told once, before a build.

    Raises:
        ToolError: the model did not build.
        GateError: the netlist has what cannot be simulated.
    """

    name = "netlist"

    def __init__(
        self,
        kind: type[ECP5Board],
        geometry: Geometry,
        *,
        hash_cores: int,
        clock_hz: int,
        baudrate: int,
        announce: Callable[[str], None] = announce_build,
    ) -> None:
        self.geometry = geometry
        path = build_library(
            lambda: kind(geometry, hash_cores=hash_cores, clock_hz=clock_hz, baudrate=baudrate),
            "wires",
            parameters=f"{kind.name} {geometry} {hash_cores} {clock_hz} {baudrate}",
            netlist=True,
            announce=announce,
        )
        self._library = load(path, _FUNCTIONS)
        self._board = self._library.hawse_wires_new(round(clock_hz / baudrate), _UP)
        self._out = ctypes.create_string_buffer(_BUFFER)
        self._end = LinkEnd(timeout=_PATIENCE / 10)
        self._run(b"", 1000)  # until the PLL has locked

    def reset(self, epoch: int) -> None:
        """Begin ``epoch``."""
        self._end = LinkEnd(timeout=_PATIENCE / 10)
        self._end.reset(epoch)
        self._until(lambda: self._end.open)

    def press(self) -> None:
        """Press the board's button, and let it go."""
        for level in (_DOWN, _UP):
            self._library.hawse_wires_button(self._board, level)
            self._run(b"", 200)

    def board_epoch(self) -> int:
        """The epoch that the board is in."""
        self._end = LinkEnd(timeout=_PATIENCE / 10)
        self._end.ping()
        self._until(lambda: self._end.foreign is not None)
        assert self._end.foreign is not None
        return self._end.foreign

    def exchange(self, commands: Array) -> Array:
        """Send ``commands`` over the wire; returns all beats through the answer to the last.

        Raises:
            ValueError: wrong type of array, or a last command that has no certain answer.
            EngineError: not all answers came.
        """
        commands = check_commands(commands)
        answers, got = _Answers(commands), bytearray()
        raw = commands.tobytes()
        for at in range(0, len(raw), MAX_PAYLOAD):
            self._end.send(raw[at : at + MAX_PAYLOAD])

        def done() -> bool:
            while self._end.received:
                payload = self._end.received.popleft()
                got.extend(payload)
                answers.take(payload)
            return answers.missing <= 0 and not self._end.outstanding

        self._until(done)
        return beats(bytes(got))

    @property
    def cycles(self) -> int:
        """Clock cycles since power-up."""
        return int(self._library.hawse_wires_cycles(self._board))

    def _until(self, done: Callable[[], bool]) -> None:
        limit = self.cycles + _PATIENCE
        while not done():
            if self.cycles > limit:
                raise EngineError(f"the board's netlist did not answer within {_PATIENCE} cycles")
            heard = self._run(self._end.tick(self.cycles), _STRETCH)
            self._end.receive(heard, self.cycles)

    def _run(self, data: bytes, cycles: int) -> bytes:
        count = self._library.hawse_wires_run(self._board, data, len(data), self._out, _BUFFER, cycles)
        if count < 0:
            raise EngineError("the board's netlist sent a byte without a stop bit")
        return ctypes.string_at(self._out, count)

    def close(self) -> None:
        """Free the model."""
        if self._board:
            self._library.hawse_wires_free(self._board)
            self._board = None

    def __enter__(self) -> "NetlistBoard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
