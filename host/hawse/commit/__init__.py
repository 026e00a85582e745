"""What is committed: report log, state tree, exit tree, withdrawals, batch header."""
