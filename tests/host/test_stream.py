"""A validator's copy of the journal: what a network may do to messages, and what somebody else may."""

import pytest
from hawse.journal import Journal, JournalOrder
from hawse.journal.records import RecordType
from hawse.keys.signing import sign_digest
from hawse.keys.store import address_of, derive
from hawse.state.slot import Block, Cut, SlotInput, SlotOutcome
from hawse.stream.messages import Copy, Message, Place, Signed, StreamError, Tail

CONFIG = b"a configuration"


def fill(journal, first, last):
    for number in range(first, last):
        journal.append_input(SlotInput(number, 1000 + number, Cut.TIME, None, Block(0, bytes(32))))
        journal.append_outcome(SlotOutcome(number, 1, 0, bytes(32), journal.next_seq, 2, (), (), bytes(32)))


@pytest.fixture
def host(tmp_path):
    with Journal(tmp_path / "host", CONFIG, segment_bytes=2000) as journal:
        journal.append_epoch(1)
        fill(journal, 0, 20)
        yield journal


@pytest.fixture
def messages(host):
    found = [*Tail(host.directory).read()]
    assert host.segments > 2 and len(found) == 2 + 2 * 20
    assert [one.number for one in found] == [*range(len(found))]
    return [Message.decode(one.encode()) for one in found]


def records(directory):
    with Journal(directory, readonly=True, verify=True) as journal:
        return [record[1:] for record in journal.records()]


def test_gaps_doubles_and_any_order_lead_to_the_same_journal(host, messages, tmp_path):
    copy = Copy(tmp_path / "copy")
    while copy.next < len(messages):
        before = copy.next
        for message in [*reversed(messages), *messages[::2], messages[-1]]:  # a round brings one or two on
            assert copy.take(message) == (message.number == copy.next - 1 and copy.next > before)
            before = copy.next
    copy.sync()
    copy.close()
    assert records(tmp_path / "copy") == records(host.directory)


def test_a_copy_goes_on_where_it_ended(host, messages, tmp_path):
    for end in (1, 7, len(messages)):
        copy = Copy(tmp_path / "copy")
        taken = [copy.take(message) for message in messages[:end]]
        assert (copy.next == end and not all(taken[:-1])) or end == 1
        copy.sync()
        copy.close()
    assert records(tmp_path / "copy") == records(host.directory)


def test_a_record_that_is_not_what_the_chain_leads_to_is_refused_with_both_links(messages, tmp_path):
    copy = Copy(tmp_path / "copy")
    for message in messages[:8]:
        assert copy.take(message)
    good = messages[8]
    changed = good._replace(payload=good.payload[:-1] + bytes([good.payload[-1] ^ 1]))
    with pytest.raises(JournalOrder) as refused:
        copy.take(changed)
    assert good.link.hex() in str(refused.value)
    with pytest.raises(JournalOrder, match="ff" * 32):
        copy.take(good._replace(link=b"\xff" * 32))
    with pytest.raises(JournalOrder):
        copy.take(messages[10]._replace(number=8))  # one left out, and the numbers closed up
    for type_ in (RecordType.SEGMENT, 99):
        with pytest.raises(StreamError, match=f"type {int(type_)}"):
            copy.take(good._replace(type=int(type_)))
    assert copy.take(good)  # nothing has changed by all that
    with pytest.raises(StreamError, match="and again as " + "ee" * 32):
        copy.take(good._replace(link=b"\xee" * 32))
    with pytest.raises(StreamError, match="configuration"):
        copy.take(Message.configuration(b"another"))
    copy.close()


def test_a_tail_sees_what_is_durable_and_goes_on_from_any_message(host, messages):
    tail = Tail(host.directory, messages[-1])
    assert [*tail.read()] == []
    host.append_input(SlotInput(20, 2000, Cut.TIME, None, Block(0, bytes(32))), sync=False)
    assert [*tail.read()] == []  # written, and not synced
    host.sync()
    assert [one.number for one in tail.read()] == [len(messages)]
    for at in (0, 1, 5, 30):
        assert [*Tail(host.directory, messages[at]).read()][: len(messages) - at - 1] == messages[at + 1 :]


def test_a_stream_of_another_history_is_not_gone_on_with(host, messages):
    with pytest.raises(StreamError, match=f"{'ab' * 32}; the journal has {messages[9].link.hex()}"):
        Tail(host.directory, messages[9]._replace(link=b"\xab" * 32))
    with pytest.raises(StreamError, match="no such record"):
        Tail(host.directory, messages[-1]._replace(end=messages[-1].end + 9))
    with pytest.raises(StreamError):
        Tail(host.directory, Message.configuration(b"another"))


def test_a_signature_is_taken_from_its_signer_alone():
    one, two = derive("test", 1), derive("test", 2)
    signed = Signed(7, 90, b"d" * 32, sign_digest(b"d" * 32, one))
    assert Signed.decode(signed.encode(), 7, address_of(one)) == signed
    for data, batch, who in (
        (signed.encode(), 7, two),
        (signed.encode(), 8, one),
        (signed._replace(digest=b"e" * 32).encode(), 7, one),
        (signed.encode()[:-1], 7, one),
        (b"", 7, one),
    ):
        with pytest.raises(StreamError):
            Signed.decode(data, batch, address_of(who))
    with pytest.raises(StreamError, match="3 bytes"):
        Message.decode(b"abc")


def test_places():
    assert Place.parse("nats://a:1,b:2/x?replicas=3") == (("nats://a:1", "nats://b:2"), "x", 3)
    assert Place.parse("nats://a:1") == (("nats://a:1",), "hawse", 1)
    for bad in ("a:1", "http://a/x", "nats:///x", "nats://a/x.y", "nats://a/x?replicas=2", "nats://a/x?y=1"):
        with pytest.raises(ValueError, match=r"nats|http|a:1"):
            Place.parse(bad)
