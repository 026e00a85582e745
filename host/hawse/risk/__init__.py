"""Margin: pure integer functions, no I/O, no clock, no floats."""
