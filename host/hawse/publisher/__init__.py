"""What became of every input: told once, kept by client id, whatever happens to the host."""
