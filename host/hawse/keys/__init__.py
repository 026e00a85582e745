"""EIP-712 messages and their signatures."""
