"""Gateware in Amaranth: book, hashing, link and the appliance that joins them."""
