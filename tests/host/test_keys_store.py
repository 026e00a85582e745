import json
import stat

import pytest
from eth_account import Account
from hawse.keys.store import (
    KeyExists,
    KeyFileDamaged,
    KeyNotFound,
    KeyStore,
    KeyStoreError,
    WrongPassword,
    address_of,
    derive,
)

FAST = 4096  # of scrypt; the standard's 2**18 takes a second


@pytest.fixture
def store(tmp_path):
    return KeyStore(tmp_path / "keys")


def test_a_key_opens_with_its_password_only(store):
    key = store.new("operator", "secret", iterations=FAST)
    secret = store.load("operator", "secret")
    assert Account.from_key(secret).address == key.address
    with pytest.raises(WrongPassword, match="operator"):
        store.load("operator", "Secret")
    with pytest.raises(KeyNotFound):
        store.load("nobody", "secret")


def test_files_are_for_their_owner_only_and_any_wallet_reads_them(store):
    store.new("operator", "secret", derive("store", 0), iterations=FAST)
    path = store.directory / "operator.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    assert bytes(Account.decrypt(path.read_text(), "secret")) == derive("store", 0)


def test_a_key_is_never_overwritten(store):
    first = store.new("operator", "secret", iterations=FAST)
    with pytest.raises(KeyExists):
        store.new("operator", "other", iterations=FAST)
    assert store.show("operator") == first
    assert store.load("operator", "secret")


def test_keys_are_listed_without_passwords(store):
    assert store.keys() == []
    made = [store.new(name, "secret", iterations=FAST) for name in ("b", "a")]
    assert store.keys() == made[::-1]
    assert store.show("a") == made[1]
    with pytest.raises(KeyNotFound):
        store.show("c")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"address": 5}', '{"address": "00"}', '{"address": "%s"}' % ("11" * 20)]
)
def test_what_is_not_a_keystore_is_said_to_be_damaged(store, text):
    store.directory.mkdir()
    (store.directory / "x.json").write_text(text)
    with pytest.raises(KeyFileDamaged, match=r"x\.json"):
        store.load("x", "secret")


def test_a_key_under_a_strangers_address_is_damaged(store):
    store.new("x", "secret", iterations=FAST)
    path = store.directory / "x.json"
    content = json.loads(path.read_text())
    content["address"] = address_of(derive("store", 1)).hex()
    path.write_text(json.dumps(content))
    with pytest.raises(KeyFileDamaged, match="is not that of"):
        store.load("x", "secret")


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "a b", "x" * 65])
def test_names_cannot_leave_the_directory(store, name):
    for use in (lambda: store.new(name, "secret"), lambda: store.load(name, "secret")):
        with pytest.raises(KeyStoreError, match="name"):
            use()


def test_an_empty_password_or_a_bad_key_is_refused(store):
    with pytest.raises(KeyStoreError, match="password"):
        store.new("x", "")
    with pytest.raises(ValueError):
        store.new("x", "secret", bytes(32))
    assert store.keys() == []


def test_demonstration_keys_never_change():
    keys = {derive(seed, index) for seed in ("", "a", "b") for index in range(4)}
    assert len(keys) == 12
    assert derive("a", 1) in keys
    assert address_of(derive("hawse", 0)).hex() == "67c81b689db3ef0e06fbf41a3b9a2d091177ec9a"
