"""The journal over NATS JetStream, to validators on other machines, and their signatures back."""
