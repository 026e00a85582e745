"""The deterministic transition function: instruments, accounts, orders, slots. No I/O inside."""
