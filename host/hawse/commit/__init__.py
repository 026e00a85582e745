"""What is committed: leaves and roots of the state, inputs, exits, withdrawals, report log, batch header."""
