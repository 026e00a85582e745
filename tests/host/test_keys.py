import json
import re
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from coincurve import PublicKey
from eth_account import Account
from eth_account.messages import encode_typed_data
from hawse.commit.header import TYPE as HEADER_TYPE
from hawse.commit.header import BatchHeader
from hawse.keys import lines, structs, vectors
from hawse.keys.eip712 import NO_STRUCT, Domain, canonical, digests, struct_hashes
from hawse.keys.lines import LineError
from hawse.keys.members import TYPES
from hawse.keys.messages import BODIES, MESSAGE, WIDE, MessageKind, split
from hawse.keys.signing import address, recover, recover_digest, sign, sign_digest, verify
from hawse.keys.store import address_of, derive
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_keccak import keccak256

DOMAIN = Domain(31337, bytes(range(20)))
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
KEYS = [derive("the tests", n) for n in range(8)]
VECTORS = json.loads(vectors.PATH.read_text())
VECTOR_DOMAIN = Domain(
    VECTORS["domain"]["chainId"], bytes.fromhex(VECTORS["domain"]["verifyingContract"][2:])
)

#: What a member's value may be, where its type allows more.
_CHOICES = {"side": 1, "timeInForce": 3, "selfTrade": 2, "mode": 1}


def members(type_):
    return [member.split() for member in type_.partition("(")[2].rstrip(")").split(",")]


@st.composite
def message(draw, kind=None):
    """The kind of a message and its signed values by their signed names."""
    kind = kind or draw(st.sampled_from(MessageKind))
    out = {}
    for type_, name in members(TYPES[kind]):
        if type_ == "address":
            out[name] = "0x" + draw(st.binary(min_size=20, max_size=20)).hex()
        elif type_ == "bool":
            out[name] = draw(st.booleans())
        elif name in _CHOICES:
            out[name] = draw(st.integers(0, _CHOICES[name]))
        else:
            limits = np.iinfo(type_)
            edges = st.sampled_from([int(limits.min), int(limits.max)])
            out[name] = draw(st.integers(int(limits.min), int(limits.max)) | edges)
    if kind is MessageKind.CANCEL_ALL:
        out["nonceFloor"] = min(out["nonceFloor"], out["nonce"])
    if kind is MessageKind.MULTI_LEG:
        used = draw(st.integers(0, 4))
        for n in range(1, 5):
            if n > used:
                out |= {f"instrument{n}": 0xFFFF, f"ratio{n}": 0, f"price{n}": 0}
            elif out[f"instrument{n}"] == 0xFFFF:
                out[f"instrument{n}"] = 0
    return kind, out


_NAMES = {
    "side": ["buy", "sell"],
    "timeInForce": ["gtc", "ioc", "fok", "post_only"],
    "selfTrade": ["cancel_newest", "cancel_oldest", "cancel_both"],
    "mode": ["cross", "portfolio"],
}


def line_of(kind, values):
    """The JSON object of a message, by its signed names."""
    out, legs = {"kind": kind.name.lower()}, []
    for name, value in values.items():
        if leg := re.fullmatch(r"(instrument|ratio|price)\d", name):
            if leg[1] == "instrument":
                legs.append({})
            legs[-1][leg[1]] = value
        else:
            field = re.sub("[A-Z]", lambda m: "_" + m[0].lower(), name)
            out[field] = _NAMES[name][value] if name in _NAMES else value
    if legs:
        out["legs"] = [leg for leg in legs if leg["instrument"] != 0xFFFF]
    return out


def rows_of(messages):
    return np.concatenate([lines.parse(json.dumps(line_of(*one))) for one in messages])


def typed_data(kind, values):
    primary = TYPES[kind].partition("(")[0]
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            primary: [{"name": name, "type": type_} for type_, name in members(TYPES[kind])],
        },
        "primaryType": primary,
        "domain": {
            "name": "Hawse",
            "version": "2",
            "chainId": DOMAIN.chain_id,
            "verifyingContract": "0x" + DOMAIN.contract.hex(),
        },
        "message": values,
    }


def make(count):
    """``count`` messages of all kinds in turn, as rows, and the account of each."""
    parts = []
    for n in range(count):
        kind = MessageKind(n % 14 + 1)
        line = {"kind": kind.name.lower(), "account": n % 7 + 1, "nonce": 1000 + n}
        parts.append(lines.parse(json.dumps(line)))
    return np.concatenate(parts) if parts else np.zeros(0, MESSAGE), [n % 7 + 1 for n in range(count)]


def signed(count):
    rows, accounts = make(count)
    keys = [KEYS[a] for a in accounts]
    sign(rows, DOMAIN, keys)
    return rows, [address_of(key) for key in keys]


# ---- Against the reference, and vectors


def test_no_type_begins_with_a_byte_that_tags_a_hash():
    assert len(TYPES) == 14
    assert not {text[0] for text in TYPES.values()} & {"P", "Q"}


@given(st.lists(message(), min_size=1, max_size=6))
@settings(deadline=None)
def test_digests_are_those_of_eth_account(messages):
    rows = rows_of(messages)
    hashes = struct_hashes(rows)
    for one, struct, digest in zip(messages, hashes, digests(rows, DOMAIN), strict=True):
        theirs = encode_typed_data(full_message=typed_data(*one))
        assert theirs.header == DOMAIN.separator
        assert struct == theirs.body
        assert digest == keccak256(b"\x19\x01" + theirs.header + theirs.body)


@given(st.lists(message(), min_size=1, max_size=6), st.integers(1, ORDER - 1))
@settings(deadline=None, max_examples=30)
def test_signatures_are_those_of_eth_account_and_verify(messages, scalar):
    secret, rows = scalar.to_bytes(32, "big"), rows_of(messages)
    sign(rows, DOMAIN, [secret] * len(messages))
    for one, row in zip(messages, rows[split(rows).starts], strict=True):
        theirs = Account.sign_typed_data(secret, full_message=typed_data(*one))
        parity = (theirs.v - 27) << 255
        s = int.from_bytes(theirs.signature[32:64], "big") | parity
        assert row["signature"].tobytes() == theirs.signature[:32] + s.to_bytes(32, "big")
    signers = [address_of(secret)] * len(messages)
    assert verify(rows, signers, DOMAIN).all()
    assert recover(rows, DOMAIN) == signers


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda v: v["kind"])
def test_the_vectors_of_messages(vector):
    rows = np.frombuffer(bytes.fromhex(vector["rows"]), MESSAGE)
    kind = MessageKind[vector["kind"].upper()]
    assert rows["kind"][0] == kind
    assert len(rows) == 1 + (kind in WIDE)
    assert TYPES[kind] == vector["type"]
    assert struct_hashes(rows)[0].hex() == vector["struct_hash"]
    assert digests(rows, VECTOR_DOMAIN)[0].hex() == vector["digest"]
    assert rows["signature"][0].tobytes().hex() == vector["signature"]
    assert recover(rows, VECTOR_DOMAIN)[0].hex() == VECTORS["address"]
    parsed = lines.parse(json.dumps(vector["line"]))
    assert parsed.tobytes() == rows.tobytes()
    shown = lines.unparse(rows)
    assert lines.parse(json.dumps(shown)).tobytes() == rows.tobytes()
    assert {k: v.lower() if k == "agent" else v for k, v in shown.items()} == vector["line"]
    parsed["signature"] = 0
    sign(parsed, VECTOR_DOMAIN, [bytes.fromhex(VECTORS["private_key"])])
    assert parsed.tobytes() == rows.tobytes()


def test_the_vectors_cover_every_kind_and_are_what_their_program_makes():
    assert [v["kind"] for v in VECTORS["messages"]] == [kind.name.lower() for kind in MessageKind]
    assert VECTOR_DOMAIN.separator.hex() == VECTORS["domain"]["separator"]
    assert vectors.vectors() == VECTORS


def test_the_vectors_of_structs_that_are_no_rows():
    values = [
        [bytes.fromhex(v[2:]) if isinstance(v, str) else v for v in vector["message"].values()]
        for vector in VECTORS["structs"]
    ]
    redirect, observation, surface, receipts, operation, session = values
    nodes, body = VECTORS["structs"][2]["nodes"], bytes.fromhex(VECTORS["structs"][4]["body"])
    assert structs.nodes_hash(nodes) == surface[-1]
    assert structs.operation_body(operation[1], body) == operation[-1]
    ours = [
        structs.redirect(*redirect),
        structs.observation(*observation),
        structs.surface(*surface[:-1], nodes),
        structs.receipts(*receipts),
        structs.operation(*operation[:-1], body),
        structs.session(*session),
    ]
    types = [structs.REDIRECT, structs.OBSERVATION, structs.SURFACE, structs.RECEIPTS, structs.OPERATION]
    types.append(structs.SESSION)
    key = bytes.fromhex(VECTORS["private_key"])
    for struct, type_, vector in zip(ours, types, VECTORS["structs"], strict=True):
        assert type_ == vector["type"]
        assert struct.hex() == vector["struct_hash"]
        digest = VECTOR_DOMAIN.digest(struct)
        assert digest.hex() == vector["digest"]
        assert sign_digest(digest, key).hex() == vector["signature"]
        assert recover_digest(digest, bytes.fromhex(vector["signature"])).hex() == VECTORS["address"]


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: structs.observation(1, 0, 0, 0), "value: 0 is not above 0"),
        (lambda: structs.observation(1 << 16, 1, 0, 0), "feed"),
        (lambda: structs.observation(1, 1 << 63, 0, 0), "value"),
        (lambda: structs.surface(1, 1 << 32, 0, 0, []), "grid"),
        (lambda: structs.surface(1, 1, 0, 0, [0] * 129), "nodes: 129"),
        (lambda: structs.nodes_hash([5, 1 << 32]), "nodes: 4294967296 at 1"),
        (lambda: structs.redirect(1, 1, bytes(19), bytes(20), 1), "owner"),
        (lambda: structs.redirect(256, 1, bytes(20), bytes(20), 1), "what"),
        (lambda: structs.receipts(1, 1, 1, bytes(31), 1, bytes(32), 1, bytes(32)), "root"),
        (lambda: structs.receipts(1, 1, -1, bytes(32), 1, bytes(32), 1, bytes(32)), "count"),
        (lambda: structs.operation(1, 256, b""), "kind"),
        (lambda: sign_digest(bytes(32), bytes(31)), "private_key: 31"),
    ],
)
def test_values_that_a_struct_cannot_hold_are_named(call, field):
    with pytest.raises(ValueError, match=f"^{field}"):
        call()


def test_a_header_digest_is_that_of_eth_account():
    header = BatchHeader(
        *(
            bytes([n]) * 32 if kind is bytes else 100 + n
            for n, kind in enumerate(BatchHeader.__annotations__.values())
        )
    )
    data = typed_data(MessageKind.CANCEL, {})
    fields = [{"name": name, "type": type_} for type_, name in members(HEADER_TYPE)]
    data["types"] = {"EIP712Domain": data["types"]["EIP712Domain"], "BatchHeader": fields}
    data["primaryType"], data["message"] = "BatchHeader", vars(header)
    theirs = encode_typed_data(full_message=data)
    expected = keccak256(b"\x19\x01" + theirs.header + theirs.body)
    assert DOMAIN.digest(header.struct_hash()) == expected


# ---- Rows and their messages


@given(st.lists(st.sampled_from([0, 1, 6, 9, 10, 11, 14, 15, 255]), max_size=12))
def test_rows_are_split_as_one_reads_them_from_the_front(kinds):
    rows = np.zeros(len(kinds), MESSAGE)
    rows["kind"] = kinds
    starts, bodies, at = [], [], 0
    while at < len(kinds):
        wide = kinds[at] in WIDE
        starts.append(at)
        bodies.append(at + 1 if wide else -1)
        at += 1 + wide
    if at > len(kinds):
        with pytest.raises(ValueError, match=rf"row {len(kinds) - 1} begins a .*second row is missing"):
            split(rows)
    else:
        found = split(rows)
        assert (found.starts.tolist(), found.bodies.tolist()) == (starts, bodies)


@pytest.mark.parametrize("use", [canonical, struct_hashes, lambda r: digests(r, DOMAIN), split])
def test_half_a_message_is_refused_everywhere(use):
    rows, _ = make(6)
    use(rows)
    with pytest.raises(ValueError, match="second row is missing"):
        use(rows[:-1])


def test_unused_fields_and_bytes_are_zero_or_the_message_is_not_canonical():
    for kind in MessageKind:
        rows = rows_of([(kind, {})])
        assert canonical(rows).tolist() == [True]
        used = {"kind", "signature"}
        for _, name in members(TYPES[kind]):
            field = re.sub("[A-Z]", lambda m: "_" + m[0].lower(), name)
            columns = {"nonce_floor": "amount", "delay": "amount", "to_subaccount": "instrument"}
            used |= {columns.get(field, "mode" if field in ("self_trade", "reduce_only") else field)}
        for name in MESSAGE.names:
            other = rows.copy()
            other["nonce"][0] = 9
            if name not in ("kind", "signature"):
                other[name][0] = 1
                assert canonical(other)[0] == (name in used), (kind, name)
        if kind in BODIES:
            named = np.zeros(1, BODIES[kind])
            fields = set()
            for name in BODIES[kind].names:
                offset, size = BODIES[kind].fields[name][1], BODIES[kind].fields[name][0].itemsize
                fields |= set(range(offset, offset + size))
            assert named.itemsize == 128
            for byte in range(128):
                raw = bytearray(rows.tobytes())
                raw[128 + byte] ^= 1
                good = canonical(np.frombuffer(bytes(raw), MESSAGE))[0]
                if kind is not MessageKind.MULTI_LEG or byte not in fields:  # its legs have a test below
                    assert good == (byte in fields), (kind, byte)


def test_undefined_values_are_not_canonical():
    def with_(kind, **fields):
        rows = rows_of([(kind, {})])
        for name, value in fields.items():
            rows[name][0] = value
        return bool(canonical(rows)[0])

    for mode in range(256):
        assert with_(MessageKind.ORDER, mode=mode) == (mode in (0, 1, 2, 4, 5, 6))
        assert with_(MessageKind.MARGIN_MODE, mode=mode) == (mode < 2)
    for value in range(256):
        assert with_(MessageKind.ORDER, side=value) == (value < 2)
        assert with_(MessageKind.REGISTER, side=value) == (value < 2)
        assert with_(MessageKind.ORDER, time_in_force=value) == (value < 4)
    assert with_(MessageKind.CANCEL_ALL, nonce=5, amount=5)
    assert not with_(MessageKind.CANCEL_ALL, nonce=5, amount=6)
    for unknown in (0, 15, 255):
        row = np.zeros(1, MESSAGE)
        row["kind"] = unknown
        assert not canonical(row)[0]
        assert struct_hashes(row) == [NO_STRUCT]


def test_unused_legs_stand_last_and_are_empty():
    def legs(*values):
        rows = rows_of([(MessageKind.MULTI_LEG, {})])
        rows[1:].view(BODIES[MessageKind.MULTI_LEG])["legs"][0] = list(values)
        return bool(canonical(rows)[0])

    none = (0xFFFF, 0, 0)
    assert legs(none, none, none, none)
    assert legs((1, 1, 5), (2, -1, 7), none, none)
    assert legs((1, 1, 5), (2, -1, 7), (3, 1, 1), (4, 1, 1))
    assert not legs((1, 1, 5), none, (2, -1, 7), none)
    assert not legs((1, 1, 5), (2, -1, 7), (0xFFFF, 1, 0), none)
    assert not legs((1, 1, 5), (2, -1, 7), (0xFFFF, 0, 1), none)


# ---- Signatures


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_many_are_verified_each_at_its_place(workers):
    rows, owners = signed(150)
    bad = np.zeros(150, bool)
    bad[[0, 1, 31, 32, 33, 77, 149]] = True
    rows["nonce"][split(rows).starts[bad]] ^= 1
    table = np.frombuffer(b"".join(owners), np.uint8).reshape(-1, 20)
    assert (verify(rows, table, DOMAIN, workers) == ~bad).all()
    assert (verify(rows, owners, DOMAIN, workers) == ~bad).all()
    found = recover(rows, DOMAIN, workers)
    assert [signer == owner for signer, owner in zip(found, owners, strict=True)] == (~bad).tolist()
    assert verify(rows[:0], [], DOMAIN, workers).shape == (0,)


def test_a_signature_is_good_for_one_domain_and_one_owner_only():
    rows, owners = signed(14)
    assert verify(rows, owners, DOMAIN).all()
    for other in (Domain(31338, DOMAIN.contract), Domain(31337, bytes(20))):
        assert not verify(rows, owners, other).any()
    stranger = address_of(derive("the tests", 99))
    for owner in (stranger, b"", bytes(20), bytes(32)):
        assert not verify(rows, [owner] * 14, DOMAIN).any()
    rows["account"][split(rows).starts] += 1
    assert not verify(rows, owners, DOMAIN).any()


@pytest.mark.parametrize("kind", list(MessageKind))
def test_no_byte_of_a_signed_message_can_change(kind):
    rows, owners = signed(14)
    at = split(rows).starts[kind - 1]
    one = rows[at : at + 1 + (kind in WIDE)]
    assert verify(one, [owners[kind - 1]], DOMAIN).all()
    raw = one.tobytes()
    for other in set(range(256)) - {int(kind)}:
        with suppress(ValueError):  # half a message
            assert owners[kind - 1] not in recover(
                np.frombuffer(bytes([other]) + raw[1:], MESSAGE), DOMAIN, 1
            )
    size = len(raw)
    changed = np.tile(np.frombuffer(raw, np.uint8), (3 * (size - 1), 1))
    for byte in range(1, size):
        for n, flip in enumerate((0x01, 0x80, 0xFF)):
            changed[3 * (byte - 1) + n, byte] ^= flip
    found = recover(changed.reshape(-1).view(MESSAGE), DOMAIN)
    assert len(found) == len(changed)
    assert owners[kind - 1] not in found


def malleable(signature):
    """The other signature of the same key, as EIP-2098 would have it if s could be high: r, s and parity."""
    s = int.from_bytes(signature[32:], "big")
    parity, s = s >> 255, s & (1 << 255) - 1
    return signature[:32], ORDER - s, parity ^ 1


def test_a_high_s_is_refused_although_it_recovers_to_the_owner():
    rows, owners = signed(28)
    for at, digest, owner in zip(split(rows).starts, digests(rows, DOMAIN), owners, strict=True):
        r, s, parity = malleable(rows["signature"][at].tobytes())
        assert s > ORDER // 2
        full = r + s.to_bytes(32, "big") + bytes([parity])
        assert bytes.fromhex(Account._recover_hash(digest, signature=full)[2:]) == owner
        # Where its highest bit is in the parity's place, it cannot even be written.
        if s < 1 << 255:
            assert recover_digest(digest, r + (s | parity << 255).to_bytes(32, "big")) is None
    rows["signature"][:, 32:] = 0xFF
    assert not verify(rows, owners, DOMAIN).any()
    # Just above half of the order, where the highest bit is free.
    for parity in (0, 1):
        s = (ORDER // 2 + 1 | parity << 255).to_bytes(32, "big")
        assert recover_digest(bytes(32), bytes(31) + b"\1" + s) is None
        s = (ORDER // 2 | parity << 255).to_bytes(32, "big")
        assert recover_digest(bytes(32), bytes(31) + b"\1" + s) is not None


def test_an_r_that_was_reduced_cannot_be_written():
    digest = keccak256(b"any")
    # Any r and s are the signature of some key; of an r beyond the order's, recovery would need a third bit.
    for r in range(1, 100):
        signature = r.to_bytes(32, "big") + (1).to_bytes(32, "big")
        try:
            owner = address(PublicKey.from_signature_and_message(signature + b"\2", digest, None))
        except ValueError:
            continue
        break
    assert owner != recover_digest(digest, signature)
    assert owner != recover_digest(digest, signature[:32] + b"\x80" + signature[33:])


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_signature_has_64_bytes(size):
    assert recover_digest(bytes(32), bytes(size)) is None


@given(st.lists(st.binary(min_size=64, max_size=64), min_size=1, max_size=8), st.data())
@settings(deadline=None)
def test_malformed_signatures_are_nobodys_and_never_raise(signatures, data):
    rows, owners = signed(len(signatures))
    edges = st.sampled_from([0, 1, ORDER // 2, ORDER // 2 + 1, ORDER - 1, ORDER, (1 << 256) - 1, 1 << 255])
    for at, signature in zip(split(rows).starts, signatures, strict=True):
        r, s = (data.draw(edges).to_bytes(32, "big") for _ in "rs")
        chosen = data.draw(st.sampled_from([signature, r + s, signature[:32] + s, r + signature[32:]]))
        rows["signature"][at] = np.frombuffer(chosen, np.uint8)
    assert not verify(rows, owners, DOMAIN).any()


@given(st.binary(min_size=256, max_size=256))
def test_any_bytes_are_rows_that_can_be_judged(raw):
    rows = np.frombuffer(raw, MESSAGE)
    try:
        found = recover(rows, DOMAIN)
    except ValueError as error:
        assert "second row is missing" in str(error)
    else:
        assert len(found) == len(split(rows).starts)
        assert address_of(KEYS[0]) not in found


def test_bad_arguments_are_named():
    rows, owners = signed(5)
    with pytest.raises(ValueError, match="signers: 2 for 5"):
        verify(rows, owners[:2], DOMAIN)
    with pytest.raises(ValueError, match="signers: float64"):
        verify(rows, np.zeros((5, 20)), DOMAIN)
    with pytest.raises(ValueError, match="private_keys: 1 for 5"):
        sign(rows, DOMAIN, KEYS[:1])
    with pytest.raises(ValueError, match="private_keys: one has 31"):
        sign(rows, DOMAIN, [bytes(31)] * 5)
    with pytest.raises(ValueError, match="scalar"):
        sign(rows, DOMAIN, [bytes(32)] * 5)
    rows["zero_6"][1] = 1
    with pytest.raises(ValueError, match="the CANCEL of row 1 is not canonical"):
        sign(rows, DOMAIN, KEYS[:5])
    assert struct_hashes(rows)[1] == NO_STRUCT
    rows["kind"][0] = 15
    with pytest.raises(ValueError, match=r"kind: 15 in row 0 is not within 1\.\.14"):
        digests(rows, DOMAIN)
    with pytest.raises(ValueError, match="chain_id"):
        Domain(-1, bytes(20))
    with pytest.raises(ValueError, match="contract"):
        Domain(1, bytes(19))


def test_addresses_are_those_of_ethereum():
    # The generator point's, widely known.
    assert address_of((1).to_bytes(32, "big")).hex() == "7e5f4552091a69125d5dfcb7b8c2659029395bdf"
    assert address_of(KEYS[0]) == bytes.fromhex(Account.from_key(KEYS[0]).address[2:])
    for bad in (b"", bytes(32), ORDER.to_bytes(32, "big")):
        with pytest.raises(ValueError):
            address_of(bad)


# ---- Lines


@given(message())
def test_a_line_gives_back_what_was_said(one):
    rows = rows_of([one])
    shown = lines.unparse(rows)
    said = line_of(*one)
    assert {k: v.lower() if k == "agent" else v for k, v in shown.items() if k != "signature"} == said
    assert lines.parse(json.dumps(shown)).tobytes() == rows.tobytes()
    assert canonical(rows).all()


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("[" * 200_000, "line: 200000 bytes, at most 4096"),
        ("[" * 4000, "not the JSON object of a message"),
        ('{"account":' * 300, "not the JSON object of a message"),
        ('{"legs":[' * 400, "not the JSON object of a message"),
        (b'{"kind": "order\xff"}', "not the JSON object of a message"),
        (b"\xff\xfe{}", "not the JSON object of a message"),
        ("\ud800", "not the JSON object of a message"),
        ("", "not the JSON object of a message"),
        ("[]", "not the JSON object of a message"),
        ('{"kind": "order"} 5', "not the JSON object of a message"),
        ("{}", "kind: None is none of order, cancel,"),
        ('{"kind": "new"}', "kind: 'new' is none of order"),
        ('{"kind": ["order"]}', "not the JSON object of a message"),
        ('{"kind": "cancel", "price": 5}', "price: CANCEL has no such field; it has kind, account"),
        ('{"kind": "order", "legs": []}', "legs: ORDER has no such field"),
        ('{"kind": "order", "instrument1": 5}', "instrument1: ORDER has no such field"),
        ('{"kind": "multi_leg", "instrument1": 5}', "instrument1: MULTI_LEG has no such field"),
        ('{"kind": "order", "price": 2147483648}', r"price: 2147483648 is not an integer within -2147483648"),
        ('{"kind": "order", "nonce": 18446744073709551616}', "nonce: 18446744073709551616 is not an integer"),
        ('{"kind": "order", "nonce": 1%s}' % ("0" * 900), "nonce: 10"),
        ('{"kind": "order", "nonce": -1}', "nonce: -1 is not an integer within 0"),
        ('{"kind": "order", "nonce": 1.0}', "nonce: 1.0 is not an integer"),
        ('{"kind": "order", "nonce": 1e400}', ""),
        ('{"kind": "order", "nonce": "5"}', "nonce: '5' is not an integer"),
        ('{"kind": "order", "nonce": true}', "nonce: True is not an integer"),
        ('{"kind": "order", "nonce": null}', "nonce: None is not an integer"),
        ('{"kind": "order", "reduce_only": 1}', "reduce_only: 1 is neither true nor false"),
        ('{"kind": "order", "side": "long"}', "side: 'long' is none of buy, sell"),
        ('{"kind": "order", "side": 0}', "side: 0 is none of buy, sell"),
        ('{"kind": "margin_mode", "mode": "isolated"}', "mode: 'isolated' is none of cross, portfolio"),
        ('{"kind": "multi_leg", "legs": 5}', "legs: not a list of at most 4"),
        ('{"kind": "multi_leg", "legs": [{},{},{},{},{}]}', "legs: not a list of at most 4"),
        ('{"kind": "multi_leg", "legs": [5]}', "not the JSON object of a message"),
        (
            '{"kind": "multi_leg", "legs": [{"ratio": 5}]}',
            r"legs\[0\]: has ratio, not instrument, ratio, price",
        ),
        (
            '{"kind": "multi_leg", "legs": [{"instrument": 1, "ratio": 32768, "price": 1}]}',
            r"legs\[0\].ratio: 32768 is not an integer within -32768",
        ),
        ('{"kind": "revoke", "agent": "0x12"}', "agent: not 20 bytes in hexadecimal"),
        ('{"kind": "revoke", "agent": 5}', "agent: not 20 bytes in hexadecimal"),
        (
            '{"kind": "revoke", "agent": "0x5AAEb6053F3E94C9b9A09f33669435E7Ef1BeAed"}',
            "agent: 0x5AAEb6053F3E94C9b9A09f33669435E7Ef1BeAed does not fit its checksum",
        ),
        ('{"kind": "order", "signature": "0x%s"}' % ("00" * 65), "signature: not 64 bytes in hexadecimal"),
        ('{"kind": "order", "signature": "zz"}', "signature: not 64 bytes in hexadecimal"),
    ],
    ids=lambda value: str(value)[:30].encode("ascii", "replace").decode(),
)
def test_a_line_that_is_no_message_says_why(line, error):
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1 << 30)  # as another library of this process may have done
    try:
        with pytest.raises(LineError, match=f"^{error}"):
            lines.parse(line)
    finally:
        sys.setrecursionlimit(limit)


@given(st.binary(max_size=80) | st.text(max_size=80))
def test_any_line_is_a_message_or_a_line_error(line):
    with suppress(LineError):
        lines.parse(line)


@given(message(), st.data())
def test_a_damaged_line_is_a_message_or_a_line_error(one, data):
    raw = bytearray(json.dumps(line_of(*one)).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for line in (bytes(raw), bytes(raw[:cut])):
        with suppress(LineError):
            assert split(lines.parse(line)).starts.tolist() == [0]


def test_only_one_message_becomes_a_line():
    rows, _ = make(2)
    with pytest.raises(ValueError, match="rows: 2 messages, not 1"):
        lines.unparse(rows)


def test_the_room_imports_the_wire_and_nothing_else_of_ours():
    room = Path(structs.__file__).parent
    for path in room.glob("*.py"):
        for imported in re.findall(r"^(?:from|import) (hawse[\w.]*)", path.read_text(), re.MULTILINE):
            assert imported.startswith(("hawse.wire", "hawse.keys")), (path.name, imported)
