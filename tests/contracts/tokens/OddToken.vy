# pragma version 0.4.3
"""
@title A token that misbehaves as it is told
@dev `refuse` moves nothing and returns False; `fee` is kept of every transfer in thousandths; `reenter`, where
     set, is called with `payload` in the middle of the next transfer.
"""

balanceOf: public(HashMap[address, uint256])
refuse: public(bool)
fee: public(uint256)
reenter: public(address)
payload: Bytes[1024]
decimals: public(uint8)


@deploy
def __init__():
    self.decimals = 6


@external
def measure(decimals: uint8):
    self.decimals = decimals


@external
def mint(owner: address, amount: uint256):
    self.balanceOf[owner] += amount


@external
def misbehave(refuse: bool, fee: uint256, reenter: address, payload: Bytes[1024]):
    self.refuse = refuse
    self.fee = fee
    self.reenter = reenter
    self.payload = payload


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    return self._move(owner, to, amount)


@external
def transfer(to: address, amount: uint256) -> bool:
    return self._move(msg.sender, to, amount)


@internal
def _move(owner: address, to: address, amount: uint256) -> bool:
    if self.refuse:
        return False
    target: address = self.reenter
    if target != empty(address):
        self.reenter = empty(address)
        raw_call(target, self.payload)
    self.balanceOf[owner] -= amount
    self.balanceOf[to] += amount - amount * self.fee // 1000
    return True
