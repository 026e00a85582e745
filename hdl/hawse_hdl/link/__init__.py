"""The board's end of the link: UART, frames, CRC, and delivery in order without loss."""

from .capture import Capture
from .deframer import Deframer
from .endpoint import Endpoint
from .framer import Framer
from .probe import Probe
from .uart import UART, margin

__all__ = ["UART", "Capture", "Deframer", "Endpoint", "Framer", "Probe", "margin"]
