"""Clock of the chip from the clock of the board: the PLL of an ECP5."""

from dataclasses import dataclass
from fractions import Fraction

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In

#: Hz within which the oscillator, and the phase detector, of an ECP5's PLL work (Lattice FPGA-DS-02012).
OSCILLATOR = (400_000_000, 800_000_000)
DETECTOR = (3_125_000, 400_000_000)
#: Largest divider.
LARGEST = 128


@dataclass(frozen=True)
class Dividers:
    """Of a PLL that feeds its output back: ``output = input * feedback / reference``.

    The oscillator runs at ``output * post``.
    """

    reference: int
    feedback: int
    post: int


def dividers(input_hz: int, output_hz: int) -> Dividers:
    """Dividers that make ``output_hz`` of ``input_hz``, exactly.

    Raises:
        ValueError: there are none.
    """
    ratio = Fraction(output_hz, input_hz)
    posts = [p for p in range(1, LARGEST + 1) if OSCILLATOR[0] <= output_hz * p <= OSCILLATOR[1]]
    if (
        not posts
        or max(ratio.numerator, ratio.denominator) > LARGEST
        or not DETECTOR[0] <= Fraction(input_hz, ratio.denominator) <= DETECTOR[1]
    ):
        raise ValueError(f"clock: no PLL of an ECP5 makes {output_hz} Hz of {input_hz} Hz")
    # The fastest phase detector that the clocks allow, and the oscillator nearest to the middle of its range.
    post = min(posts, key=lambda p: abs(output_hz * p - sum(OSCILLATOR) // 2))
    return Dividers(ratio.denominator, ratio.numerator, post)


class ClockAndReset(wiring.Component):
    """Clock and reset of ``sync``: from a PLL, and while that has not locked or ``button`` is down.

    Latency: the reset begins at once and ends 2 cycles after both its causes have; of the button, bouncing or
    not, no more is asked.  Initiation interval: –.  Ordering: –.  Reset: it makes it.  Back-pressure: none.

    Args:
        input_hz: of ``clock``.
        output_hz: of ``sync``.

    Raises:
        ValueError: no PLL makes the one of the other.
    """

    #: Of the board.
    clock: In(1)
    #: Down while 1; of no clock.
    button: In(1)

    def __init__(self, input_hz: int, output_hz: int) -> None:
        self.input_hz, self.output_hz = input_hz, output_hz
        self.dividers = dividers(input_hz, output_hz)
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        locked = Signal()
        d = self.dividers
        m.submodules.pll = Instance(
            "EHXPLLL",
            # What nextpnr and ecppack want to know beside the dividers, as Lattice's own tools give it.
            a_FREQUENCY_PIN_CLKI=f"{self.input_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self.output_hz / 1e6:g}",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_CLKI_DIV=d.reference,
            p_CLKFB_DIV=d.feedback,
            p_CLKOP_DIV=d.post,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=d.post - 1,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_CLKI=self.clock,
            i_CLKFB=ClockSignal(),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(0),
            i_PHASESTEP=Const(0),
            i_PHASELOADREG=Const(0),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=ClockSignal(),
            o_LOCK=locked,
        )
        m.submodules.reset = ResetSynchronizer(~locked | self.button, domain="sync")
        return m
