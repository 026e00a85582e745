"""Batches that validators have to sign."""

from dataclasses import replace

import pytest
from coincurve.utils import GROUP_ORDER_INT
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from hawse.chain.client import header_digest
from hawse.keys.signing import sign_digest
from hawse.keys.store import address_of, derive
from support.settlement import Venue, raw
from web3 import EthereumTesterProvider, Web3

KEYS = sorted((derive("validator", n) for n in range(5)), key=address_of)
STRANGER = derive("validator", 9)


@pytest.fixture(scope="module")
def venue():
    return Venue(Web3(EthereumTesterProvider(EthereumTester(PyEVMBackend()))), validators=KEYS, threshold=3)


def signed(venue, header, *keys):
    digest = header_digest(header, venue.web3.eth.chain_id, raw(venue.contract.address))
    return [sign_digest(digest, key) for key in keys]


@pytest.mark.parametrize("chosen", [(0, 1, 2), (0, 2, 4), (0, 1, 2, 3, 4)])
def test_enough_of_them_make_a_batch(venue, chosen):
    header = venue.header()
    venue.do(venue.anchoring(header, signed(venue, header, *(KEYS[n] for n in chosen))))
    venue.anchored[header.number] = header
    assert venue.call.batch_count().call() == header.number


@pytest.mark.parametrize(
    ("reason", "chosen"),
    [
        ("too few signatures", ()),
        ("too few signatures", (KEYS[0], KEYS[1])),
        ("signers not ascending", (KEYS[0], KEYS[1], KEYS[1])),
        ("signers not ascending", (KEYS[0], KEYS[2], KEYS[1])),
        ("not a validator", tuple(sorted((KEYS[0], KEYS[1], STRANGER), key=address_of))),
    ],
)
def test_others_make_none(venue, reason, chosen):
    header = venue.header()
    venue.refuses(f"anchor: {reason}", venue.anchoring(header, signed(venue, header, *chosen)))


def refuses(venue, header, signatures):
    """Who signed something else is anybody, so the order of addresses may be wrong, too."""
    with pytest.raises(TransactionFailed, match=r"not a validator|not ascending"):
        venue.anchoring(header, signatures).call({"from": venue.operator})


def test_a_signature_of_something_else_makes_none(venue):
    header = venue.header()
    good = signed(venue, header, *KEYS[:3])
    others = [
        signed(venue, replace(header, state_root=bytes(32)), *KEYS[:3]),
        [*good[:2], good[2][:63] + bytes([good[2][63] ^ 1])],
        [*good[:2], bytes(64)],
        [bytes(64), *good[:2]],
    ]
    for signatures in others:
        refuses(venue, header, signatures)
    # The other s of a signature has 256 bits, and no place for the parity; what is between is refused.
    high = good[2][:32] + (GROUP_ORDER_INT // 2 + 1).to_bytes(32, "big")
    venue.refuses("anchor: signature with a high s", venue.anchoring(header, [*good[:2], high]))
    for other in ({"chain_id": 5}, {"settlement": bytes(20)}):
        place = {"chain_id": venue.web3.eth.chain_id, "settlement": raw(venue.contract.address)} | other
        digest = header_digest(header, **place)
        wrong = [sign_digest(digest, key) for key in KEYS[:3]]
        refuses(venue, header, wrong)


def test_the_operator_alone_anchors_all_the_same(venue):
    header = venue.header()
    call = venue.anchoring(header, signed(venue, header, *KEYS[:3]))
    venue.refuses("anchor: not the operator", call, venue.owners[0])
