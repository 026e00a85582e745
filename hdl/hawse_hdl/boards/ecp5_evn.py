"""Lattice's ECP5-5G Evaluation Board: its UART needs two resistors moved, see section 6.2 of its manual."""

from amaranth_boards.ecp5_5g_evn import ECP55GEVNPlatform

from .ecp5 import ECP5Board


class ECP5Evaluation(ECP5Board):
    """ECP5-5G Evaluation Board, an LFE5UM5G-85F of speed grade 8, its clock of 12 MHz made 140 MHz."""

    name = "ecp5-evn"
    title = "ECP5-5G Evaluation Board"
    platform = ECP55GEVNPlatform
    part = "LFE5UM5G-85F-8"
    default_clock_hz = 140_000_000
    led = "led", ""
    button = "rst"
    loader = ("--board", "ecp5_evn")
