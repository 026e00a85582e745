"""Settlement on an EVM chain: compiling and calling the contract, and a chain to develop on."""
