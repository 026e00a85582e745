"""Boards that carry the appliance, one file each; a new one is a subclass of :class:`.ecp5.ECP5Board`."""

from .ecp5 import ECP5Board
from .ecp5_evn import ECP5Evaluation
from .ecpix5 import ECPIX5
from .ulx3s import ULX3S

#: By the name that commands take. The first of a part is the one that is routed for it.
BOARDS: dict[str, type[ECP5Board]] = {board.name: board for board in (ULX3S, ECPIX5, ECP5Evaluation)}

__all__ = ["BOARDS", "ECPIX5", "ULX3S", "ECP5Board", "ECP5Evaluation"]
