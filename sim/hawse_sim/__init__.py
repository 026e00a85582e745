"""Makes the gateware run on a PC: Verilator builds, virtual board, order flow, waveforms."""
