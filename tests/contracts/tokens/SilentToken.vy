# pragma version 0.4.3
"""
@title A token whose transfers return nothing, as some old ones do
"""

balanceOf: public(HashMap[address, uint256])
decimals: public(constant(uint8)) = 6


@external
def mint(owner: address, amount: uint256):
    self.balanceOf[owner] += amount


@external
def transferFrom(owner: address, to: address, amount: uint256):
    self.balanceOf[owner] -= amount
    self.balanceOf[to] += amount


@external
def transfer(to: address, amount: uint256):
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[to] += amount
