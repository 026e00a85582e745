"""Hawse: the host around a hardware matching appliance."""
