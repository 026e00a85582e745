"""ECPIX-5 of LambdaConcept with an LFE5UM5G-85F: UART over its FT2232H, reset at its button."""

from amaranth_boards.ecpix5 import ECPIX585Platform

from .ecp5 import ECP5Board


class ECPIX5(ECP5Board):
    """ECPIX-5 85F, speed grade 8, its clock of 100 MHz made 140 MHz."""

    name = "ecpix5"
    title = "ECPIX-5 85F"
    platform = ECPIX585Platform
    part = "LFE5UM5G-85F-8"
    default_clock_hz = 140_000_000
    led = "rgb_led", "g"
    button = "rst"
    loader = ("--board", "ecpix5")
