import numpy as np
import pytest
from coincurve import PublicKey
from eth_account import Account
from eth_account.messages import encode_typed_data
from hawse.commit.header import BatchHeader
from hawse.keys.eip712 import TYPES, Domain, canonical, digests
from hawse.keys.messages import USER_COMMAND, Request
from hawse.keys.signing import address, sign, verify
from hawse.keys.store import address_of, derive
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_keccak import keccak256

DOMAIN = Domain(31337, bytes(range(20)))
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

#: The five types as a wallet is shown them, with the field of a row that each member is.
MEMBERS = {
    "New": "uint32 account,uint64 orderId,uint16 instrument,uint8 side,uint8 timeInForce,uint8 selfTrade,"
    "int32 price,uint32 quantity,uint64 nonce,uint64 expiry",
    "Cancel": "uint32 account,uint64 orderId,uint64 nonce,uint64 expiry",
    "Replace": "uint32 account,uint64 orderId,int32 price,uint32 quantity,uint64 nonce,uint64 expiry",
    "Reduce": "uint32 account,uint64 orderId,uint32 quantity,uint64 nonce,uint64 expiry",
    "Withdraw": "uint32 account,uint64 amount,uint64 nonce,uint64 expiry",
}
FIELD = {"orderId": "order_id", "timeInForce": "time_in_force", "selfTrade": "self_trade"}


def typed_data(row):
    primary = Request(row["request"]).name.capitalize()
    members = [m.split() for m in MEMBERS[primary].split(",")]
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            primary: [{"name": name, "type": kind} for kind, name in members],
        },
        "primaryType": primary,
        "domain": {
            "name": "Hawse",
            "version": "1",
            "chainId": DOMAIN.chain_id,
            "verifyingContract": "0x" + DOMAIN.contract.hex(),
        },
        "message": {name: int(row[FIELD.get(name, name)]) for _, name in members},
    }


@st.composite
def rows(draw, max_size=6):
    requests = draw(st.lists(st.sampled_from(Request), min_size=1, max_size=max_size))
    out = np.zeros(len(requests), USER_COMMAND)
    for row, request in zip(out, requests, strict=True):
        row["request"] = request
        for member in MEMBERS[request.name.capitalize()].split(","):
            name = FIELD.get(member.split()[1], member.split()[1])
            kind = np.iinfo(USER_COMMAND[name])
            edges = st.sampled_from([int(kind.min), int(kind.max)])
            row[name] = draw(st.integers(int(kind.min), int(kind.max)) | edges)
    return out


def make(count, seed=1):
    rng = np.random.default_rng(seed)
    out = np.zeros(count, USER_COMMAND)
    out["request"] = 1 + np.arange(count) % 5
    out["account"] = np.arange(count) % 7 + 1
    out["nonce"] = rng.integers(0, 1 << 40, count)
    trades = (out["request"] == Request.NEW) | (out["request"] == Request.REPLACE)
    out["price"][trades] = rng.integers(-1000, 1000, trades.sum())
    return out


KEYS = [derive("the tests", n) for n in range(8)]


def signed(count):
    commands = make(count)
    keys = [KEYS[a] for a in commands["account"]]
    sign(commands, DOMAIN, keys)
    return commands, [address_of(key) for key in keys]


def test_the_types_are_these():
    assert {Request[name.upper()]: f"{name}({text})" for name, text in MEMBERS.items()} == TYPES


@given(rows())
@settings(deadline=None)
def test_digests_are_those_of_eth_account(commands):
    for row, digest in zip(commands, digests(commands, DOMAIN), strict=True):
        message = encode_typed_data(full_message=typed_data(row))
        assert message.header == DOMAIN.separator
        assert digest == keccak256(b"\x19\x01" + message.header + message.body)


@given(rows(), st.integers(1, ORDER - 1))
@settings(deadline=None, max_examples=30)
def test_signatures_are_those_of_eth_account_and_verify(commands, scalar):
    secret = scalar.to_bytes(32, "big")
    sign(commands, DOMAIN, [secret] * len(commands))
    for row in commands:
        theirs = Account.sign_typed_data(secret, full_message=typed_data(row))
        ours = row["signature"].tobytes()
        assert ours == theirs.signature[:64] + bytes([theirs.v - 27])
    assert verify(commands, [address_of(secret)] * len(commands), DOMAIN).all()


def test_a_header_digest_is_that_of_eth_account():
    header = BatchHeader(
        *(
            bytes([n]) * 32 if kind is bytes else 100 + n
            for n, kind in enumerate(BatchHeader.__annotations__.values())
        )
    )
    data = typed_data(make(1)[0])
    kinds = {name: "bytes32" if kind is bytes else "uint256" for name, kind in header.__annotations__.items()}
    small = {"version": 16, "number": 64, "log_leaves": 64, "log_records": 64, "deposit_index": 64}
    small |= {"forced_index": 64, "journal_first": 64, "journal_last": 64, "time": 64}
    kinds |= {name: f"uint{bits}" for name, bits in small.items()}
    data["types"] = {
        "EIP712Domain": data["types"]["EIP712Domain"],
        "BatchHeader": [{"name": name, "type": kind} for name, kind in kinds.items()],
    }
    data["primaryType"], data["message"] = "BatchHeader", vars(header)
    message = encode_typed_data(full_message=data)
    expected = keccak256(b"\x19\x01" + message.header + message.body)
    assert DOMAIN.digest(header.struct_hash()) == expected


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_many_are_verified_each_at_its_place(workers):
    commands, owners = signed(150)
    bad = np.zeros(150, bool)
    bad[[0, 1, 31, 32, 33, 77, 149]] = True
    commands["nonce"][bad] ^= 1
    table = np.frombuffer(b"".join(owners), np.uint8).reshape(-1, 20)
    assert (verify(commands, table, DOMAIN, workers) == ~bad).all()
    assert (verify(commands, owners, DOMAIN, workers) == ~bad).all()
    assert verify(commands[:0], [], DOMAIN, workers).shape == (0,)


def test_a_signature_is_good_for_one_domain_and_one_owner_only():
    commands, owners = signed(10)
    assert verify(commands, owners, DOMAIN).all()
    for other in (Domain(31338, DOMAIN.contract), Domain(31337, bytes(20))):
        assert not verify(commands, owners, other).any()
    stranger = address_of(derive("the tests", 99))
    for owner in (stranger, b"", bytes(20), bytes(32)):
        assert not verify(commands, [owner] * 10, DOMAIN).any()
    commands["account"] += 1
    assert not verify(commands, owners, DOMAIN).any()


@pytest.mark.parametrize("request_", list(Request))
def test_no_byte_of_a_signed_row_can_change(request_):
    commands, owners = signed(5)
    at = int(np.flatnonzero(commands["request"] == request_)[0])
    raw = commands[at].tobytes()
    size = len(raw)
    changed = np.tile(np.frombuffer(raw, np.uint8), (3 * size, 1))
    for byte in range(size):
        for n, flip in enumerate((0x01, 0x80, 0xFF)):
            changed[3 * byte + n, byte] ^= flip
    rows_ = changed.view(USER_COMMAND)[:, 0]
    assert not verify(rows_, [owners[at]] * len(rows_), DOMAIN).any()
    assert verify(commands[at : at + 1], [owners[at]], DOMAIN).all()


def test_unused_fields_are_zero_or_the_signature_does_not_count():
    for request in Request:
        members = [m.split()[1] for m in MEMBERS[request.name.capitalize()].split(",")]
        used = {"request", "signature", *(FIELD.get(m, m) for m in members)}
        for name in USER_COMMAND.names:
            row = np.zeros(1, USER_COMMAND)
            row["request"] = request
            if name != "request":
                row[name] = 1
            assert canonical(row)[0] == (name in used)
    for unknown in (0, 6, 255):
        row = np.zeros(1, USER_COMMAND)
        row["request"] = unknown
        assert not canonical(row)[0]


def malleable(signature):
    s = int.from_bytes(signature[32:64], "big")
    return signature[:32] + (ORDER - s).to_bytes(32, "big") + bytes([signature[64] ^ 1])


def test_a_high_s_is_refused_although_it_recovers_to_the_owner():
    commands, owners = signed(20)
    for row in commands:
        row["signature"] = np.frombuffer(malleable(row["signature"].tobytes()), np.uint8)
    row, digest = commands[0], digests(commands, DOMAIN)[0]
    signature = Account._recover_hash(digest, signature=row["signature"].tobytes())
    assert bytes.fromhex(signature[2:]) == owners[0]
    assert not verify(commands, owners, DOMAIN).any()


@pytest.mark.parametrize("v", [2, 3, 4, 27, 28, 255])
def test_v_is_0_or_1(v):
    commands, owners = signed(20)
    commands["signature"][:, 64] = v
    assert not verify(commands, owners, DOMAIN).any()


def test_an_r_that_was_reduced_is_no_signature_although_a_key_fits_it():
    commands, _ = signed(1)
    digest = digests(commands, DOMAIN)[0]
    # Any r and s are the signature of some key, and nobody need know that key's secret.
    for r in range(1, 100):
        signature = r.to_bytes(32, "big") + (1).to_bytes(32, "big") + b"\2"
        try:
            owner = address(PublicKey.from_signature_and_message(signature, digest, None))
        except ValueError:
            continue
        break
    commands["signature"][0] = np.frombuffer(signature, np.uint8)
    assert not verify(commands, [owner], DOMAIN).any()


@given(st.lists(st.binary(min_size=65, max_size=65), min_size=1, max_size=8), st.data())
@settings(deadline=None)
def test_malformed_signatures_are_false_and_never_raise(signatures, data):
    commands, owners = signed(len(signatures))
    edges = st.sampled_from([0, 1, ORDER // 2, ORDER // 2 + 1, ORDER - 1, ORDER, (1 << 256) - 1])
    for row, signature in zip(commands, signatures, strict=True):
        r, s = (data.draw(edges).to_bytes(32, "big") for _ in "rs")
        chosen = data.draw(
            st.sampled_from([signature, r + s + signature[64:], r + s + b"\0", signature[:32] + s + b"\1"])
        )
        row["signature"] = np.frombuffer(chosen, np.uint8)
    assert not verify(commands, owners, DOMAIN).any()


@given(st.binary(min_size=128, max_size=128))
def test_any_bytes_are_a_row_that_can_be_judged(raw):
    commands = np.frombuffer(raw, USER_COMMAND)
    assert not verify(commands, [address_of(KEYS[0])], DOMAIN).any()


def test_bad_arguments_are_named():
    commands, owners = signed(3)
    with pytest.raises(ValueError, match="owners: 2 for 3"):
        verify(commands, owners[:2], DOMAIN)
    with pytest.raises(ValueError, match="owners: float64"):
        verify(commands, np.zeros((3, 20)), DOMAIN)
    with pytest.raises(ValueError, match="private_keys: 1 for 3"):
        sign(commands, DOMAIN, KEYS[:1])
    with pytest.raises(ValueError, match="private_keys: one has 31"):
        sign(commands, DOMAIN, [bytes(31)] * 3)
    with pytest.raises(ValueError, match="scalar"):
        sign(commands, DOMAIN, [bytes(32)] * 3)
    commands["zero"][1] = 1
    with pytest.raises(ValueError, match="row 1"):
        sign(commands, DOMAIN, KEYS[:3])
    commands["request"][2] = 9
    with pytest.raises(ValueError, match="request: 9 in row 2"):
        digests(commands, DOMAIN)
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
