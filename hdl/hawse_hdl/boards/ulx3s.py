"""ULX3S of Radiona with an LFE5U-85F: UART over its FT231X, reset at its PWR button."""

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from .ecp5 import ECP5Board


class ULX3S(ECP5Board):
    """ULX3S 85F, speed grade 6, its clock of 25 MHz made 90 MHz."""

    name = "ulx3s"
    title = "ULX3S 85F"
    platform = ULX3S_85F_Platform
    part = "LFE5U-85F-6"
    default_clock_hz = 90_000_000
    led = "led", ""
    button = "button_pwr"
    loader = ("--board", "ulx3s")
