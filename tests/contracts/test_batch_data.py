"""Data of batches in a contract of its own, without which there is no anchor."""

import pytest
from eth_tester import EthereumTester, PyEVMBackend
from hawse.commit.data import data_hash
from support.settlement import Venue
from web3 import EthereumTesterProvider, Web3


@pytest.fixture(scope="module")
def venue():
    return Venue(Web3(EthereumTesterProvider(EthereumTester(PyEVMBackend()))), data=True)


def post(venue, *parts, behind=bytes(32), sender=None):
    for part in parts:
        venue.do(venue.data.functions.post(behind, part), sender)
        behind = data_hash([part], behind)
    return behind


def test_a_batch_whose_data_was_posted_is_anchored(venue):
    # By anybody.
    for parts in ((b"one part",), (b"one", b"two", b"", b"three")):
        named = post(venue, *parts, sender=venue.owners[0])
        assert named == data_hash(parts) and venue.data.functions.posted(named).call()
        venue.anchor(data_provider=1, data_hash=named)


def test_a_batch_without_its_data_is_not(venue):
    posted = post(venue, b"there")
    for changes, reason in (
        ({"data_provider": 1, "data_hash": data_hash([b"not there"])}, "data not posted"),
        ({"data_provider": 1, "data_hash": data_hash([b"there", b"rest"])}, "data not posted"),
        ({"data_provider": 1}, "data not posted"),
        ({"data_provider": 0}, "data provider"),
        ({"data_provider": 0, "data_hash": posted}, "data provider"),
        ({"data_provider": 2, "data_hash": posted}, "data provider"),
    ):
        venue.refuses(f"anchor: {reason}", venue.anchoring(venue.header(**changes)))


def test_a_part_needs_the_one_before(venue):
    unknown = data_hash([b"never"])
    venue.refuses("post: previous part", venue.data.functions.post(unknown, b"behind it"))
    assert not venue.data.functions.posted(data_hash([b"behind it"], unknown)).call()


def test_a_part_says_where_it_is_found(venue):
    receipt = venue.do(venue.data.functions.post(bytes(32), b"something"))
    (event,) = venue.data.events.Posted().process_receipt(receipt)
    said = {"hash": data_hash([b"something"]), "previous": bytes(32), "part": b"something"}
    assert event["args"] == said


def test_the_longest_part_is_taken_and_a_longer_one_is_not(venue):
    call = venue.data.functions.post(bytes(32), b"\x07" * 96_000)
    hash_ = call.transact({"from": venue.operator, "gas": 5_000_000})
    assert venue.web3.eth.get_transaction_receipt(hash_)["status"] == 1
    call = venue.data.functions.post(bytes(32), b"\x07" * 96_001)
    hash_ = call.transact({"from": venue.operator, "gas": 5_000_000})
    assert venue.web3.eth.get_transaction_receipt(hash_)["status"] == 0


def test_the_contracts_fit_on_a_chain(venue):
    sizes = {
        name: len(venue.web3.eth.get_code(contract.address))
        for name, contract in (
            ("settlement", venue.contract),
            ("data", venue.data),
            ("logs", venue.log_proofs),
        )
    }
    assert 0 < max(sizes.values()) <= 24_000, sizes
