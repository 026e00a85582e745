"""Market data for machines: every order of the books, as ITCH 5.0 messages over MoldUDP64."""
