"""What the boards with an ECP5 have in common."""

from typing import Any, ClassVar

from amaranth.hdl import ClockDomain, Elaboratable, Module, Signal
from amaranth.lib import io
from amaranth.vendor import LatticeECP5Platform
from hawse.wire.schema import Geometry

from ..appliance import Board
from ..block_rams import BlockRams
from ..hashing import CORES
from .build_id import BuildId
from .pll import ClockAndReset


class ECP5Board(Elaboratable):
    """Top level of a board: the appliance at its UART, a clock from its PLL, a reset button, a heartbeat.

    Pins and the board's clock are those of ``amaranth-boards``; a subclass says which of them.

    Args:
        geometry: of the book.
        hash_cores: of the log.
        clock_hz: of the appliance; what the board's routed results allow if left out.
        baudrate: bits a second at the UART.
        probe: with loopback, bit test and capture buffer, as :class:`.Appliance` has them.

    Raises:
        ValueError: the board's PLL cannot make that clock, or the clock not that rate.

    Latency, initiation interval, ordering, back-pressure: the appliance's and the UART's.
    Reset: until the PLL has locked, and while the button is down.
    """

    #: As commands name it, and as people do.
    name: ClassVar[str]
    title: ClassVar[str]
    #: The board in ``amaranth-boards``.
    platform: ClassVar[type[LatticeECP5Platform]]
    #: Part and speed grade, as results name them.
    part: ClassVar[str]
    #: Of the appliance, in Hz: below what its routed results reached.
    default_clock_hz: ClassVar[int]
    #: Resources: LED and the signal of it, button.
    led: ClassVar[tuple[str, str]]
    button: ClassVar[str]
    #: How openFPGALoader finds it.
    loader: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        geometry: Geometry | None = None,
        *,
        hash_cores: int = CORES,
        clock_hz: int | None = None,
        baudrate: int = 1_000_000,
        probe: bool = False,
    ) -> None:
        self.geometry = geometry or Geometry()
        self.clock_hz = clock_hz or self.default_clock_hz
        self.baudrate = baudrate
        self.clocks = ClockAndReset(self.input_hz(), self.clock_hz)
        self.build = BuildId()
        self.board = Board(
            self.geometry,
            hash_cores=hash_cores,
            clock_hz=self.clock_hz,
            baudrate=baudrate,
            build=self.build.value,
            probe=probe,
        )

    @classmethod
    def input_hz(cls) -> int:
        """Of the board's clock, in Hz."""
        return round(cls.platform().default_clk_frequency)

    @classmethod
    def clock_site(cls) -> str:
        """The pin of the board's clock."""
        platform = cls.platform()
        return str(platform.lookup(platform.default_clk).ios[0].names[0])

    @classmethod
    def package(cls) -> str:
        """The package, as nextpnr names it."""
        return "CABGA" + str(cls.platform.package).removeprefix("BG")

    def pins(self) -> dict[str, str]:
        """What is at each port of the netlist: ``clock``, ``button``, ``rx``, ``tx`` or ``led``."""
        light, color = self.led
        return {
            f"{self.platform.default_clk}_0__io": "clock",
            f"{self.button}_0__io": "button",
            "uart_0__rx__io": "rx",
            "uart_0__tx__io": "tx",
            f"{light}_0__{color}__io" if color else f"{light}_0__io": "led",
        }

    def elaborate(self, platform: Any) -> Module:  # noqa: D102
        m = Module()
        m.domains.sync = ClockDomain()
        m.submodules.clocks, m.submodules.build_id, m.submodules.board = self.clocks, self.build, self.board
        led, color = self.led
        uart = platform.request("uart", dir="-")
        pins = {
            "clock": (platform.request(platform.default_clk, dir="-"), self.clocks.clock),
            "button": (platform.request(self.button, dir="-"), self.clocks.button),
            "rx": (uart.rx, self.board.rxd),
        }
        for pin, (port, value) in pins.items():
            m.submodules[pin] = buffer = io.Buffer("i", port)
            m.d.comb += value.eq(buffer.i)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        light = platform.request(led, dir="-")
        m.submodules.led = lit = io.Buffer("o", getattr(light, color) if color else light)
        seconds = Signal(range(self.clock_hz))
        m.d.sync += seconds.eq(seconds - 1)
        with m.If(seconds == 0):
            m.d.sync += seconds.eq(self.clock_hz - 1)
        m.d.comb += [tx.o.eq(self.board.txd), lit.o.eq(seconds > self.clock_hz // 2)]
        return m

    def prepare(self) -> tuple[str, str]:
        """The board as RTLIL, and the pins, clocks and electrical levels as nextpnr's constraints (LPF)."""
        plan = type("Lowered", (BlockRams, self.platform), {})().prepare(self, "top", emit_src=False)
        text, constraints = plan.files["top.il"], plan.files["top.lpf"]
        return _text(text), _text(constraints)


def _text(content: str | bytes) -> str:
    return content.decode() if isinstance(content, bytes) else content
