# pragma version 0.4.3
# pragma nonreentrancy off
"""
@title Quote token of test chains
@license Apache-2.0
@notice ERC-20 with permit and 6 decimals, minted by its deployer. For the embedded chain and local nodes only:
        a venue on a public chain settles in a token that already exists there.
@dev Built from snekmate's ERC-20 module, which is under the AGPL 3.0; nothing of it is in the distribution.
"""

from snekmate.auth import ownable
from snekmate.tokens import erc20

initializes: ownable
initializes: erc20[ownable := ownable]

exports: erc20.__interface__


@deploy
def __init__():
    ownable.__init__()
    erc20.__init__("Hawse test dollar", "HUSD", 6, "Hawse test dollar", "1")


@external
def mint_each(owners: DynArray[address, 256], amount: uint256):
    """
    @notice Mint the same amount to many owners in one transaction; minters only
    """
    assert erc20.is_minter[msg.sender], "mint_each: not a minter"
    for owner: address in owners:
        erc20._mint(owner, amount)
