"""Options and surfaces in freestanding C++17: the golden functions to the bit, built on first use."""
