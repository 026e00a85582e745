"""The software engine and the driver in C++17, built on first use."""
