"""Tools that make bits of gateware: elaborate, synthesize, place and route, floorplan, timing paths, bitstreams."""
