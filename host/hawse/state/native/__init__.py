"""The transition function in C++; the same as :mod:`hawse.state.machine` to the byte."""
