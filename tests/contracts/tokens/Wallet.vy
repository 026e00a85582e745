# pragma version 0.4.3
"""
@title A wallet that is a contract: it signs nothing, and calls what its owner says
"""

owner: immutable(address)


@deploy
def __init__():
    owner = msg.sender


@external
@payable
def call(target: address, data: Bytes[1024]):
    assert msg.sender == owner, "wallet: not the owner"
    raw_call(target, data, value=msg.value)
