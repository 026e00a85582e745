"""Tools that make bits of gateware: synthesis, place and route, floorplan, timing paths, bitstreams."""
