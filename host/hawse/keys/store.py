"""Private keys in files (Web3 Secret Storage, version 3), and keys for demonstrations."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coincurve import PrivateKey
from coincurve.utils import GROUP_ORDER_INT
from eth_account import Account
from eth_utils.address import to_checksum_address
from tiny_keccak import keccak256

from .signing import address

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class KeyStoreError(Exception):
    """A key could not be made, found or opened."""


class KeyExists(KeyStoreError):
    """A key of that name is there already; it is never overwritten."""


class KeyNotFound(KeyStoreError):
    """No key has that name."""


class KeyFileDamaged(KeyStoreError):
    """A file is not a keystore, or its key is not that of the address it names."""


class WrongPassword(KeyStoreError):
    """The password does not open the key."""


@dataclass(frozen=True)
class Key:
    """A stored key as one sees it without its password; ``address`` with EIP-55 checksum."""

    name: str
    address: str


def derive(seed: str, index: int) -> bytes:
    """A private key for demonstrations and tests, the same for the same ``seed`` and ``index`` everywhere.

    Anyone who guesses the seed has the key: never let it hold anything of value.
    """
    material = b"hawse demonstration key" + keccak256(seed.encode()) + index.to_bytes(8, "big")
    scalar = int.from_bytes(keccak256(material), "big") % (GROUP_ORDER_INT - 1) + 1
    return scalar.to_bytes(32, "big")


def address_of(private_key: bytes) -> bytes:
    """Ethereum address of a private key, 20 bytes.

    Raises:
        ValueError: not 32 bytes within 1 and the group's order.
    """
    if len(private_key) != 32:
        raise ValueError(f"private_key: {len(private_key)} bytes, not 32")
    return address(PrivateKey(private_key).public_key)


class KeyStore:
    """Keys in a directory, one ``<name>.json`` each, readable by their owner only (0600)."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise KeyStoreError(f"name: {name!r} is not 1 to 64 letters, digits, '.', '_' or '-'")
        return self.directory / f"{name}.json"

    def new(
        self, name: str, password: str, private_key: bytes | None = None, iterations: int | None = None
    ) -> Key:
        """Make a key, or take ``private_key``, and store it under ``password``.

        Args:
            name: letters, digits, dot, underscore, hyphen.
            password: not empty.
            private_key: 32 bytes; by default a random one.
            iterations: of scrypt; by default the standard's 2**18.

        Raises:
            KeyExists: the name is taken.
            KeyStoreError: a name that cannot be a file's, or an empty password.
            ValueError: ``private_key`` is not one.
        """
        path = self._path(name)
        if not password:
            raise KeyStoreError("password: empty")
        if path.exists():  # before the slow encryption; O_EXCL below is what guarantees it
            raise KeyExists(f"{path} is there already")
        secret = PrivateKey().secret if private_key is None else private_key
        key = Key(name, str(to_checksum_address(address_of(secret))))
        text = json.dumps(Account.encrypt(secret, password, kdf="scrypt", iterations=iterations))
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise KeyExists(f"{path} is there already") from None
        with os.fdopen(fd, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        return key

    def _read(self, name: str) -> tuple[Key, dict[str, Any]]:
        path = self._path(name)
        try:
            content = json.loads(path.read_text())
            return Key(name, str(to_checksum_address(content["address"]))), content
        except FileNotFoundError:
            raise KeyNotFound(f"{path} does not exist") from None
        except (ValueError, KeyError, TypeError) as error:
            raise KeyFileDamaged(f"{path} is not a keystore: {error}") from error

    def show(self, name: str) -> Key:
        """Name and address of a stored key; needs no password.

        Raises:
            KeyNotFound, KeyFileDamaged: there is none, or it is not a keystore.
        """
        return self._read(name)[0]

    def keys(self) -> list[Key]:
        """All stored keys, by name.

        Raises:
            KeyFileDamaged: a ``.json`` file of the directory is not a keystore.
        """
        return [self.show(path.stem) for path in sorted(self.directory.glob("*.json"))]

    def load(self, name: str, password: str) -> bytes:
        """The private key, 32 bytes.

        Raises:
            WrongPassword: it does not open the key.
            KeyNotFound, KeyFileDamaged: there is none, or it is not a keystore.
        """
        key, content = self._read(name)
        try:
            secret = bytes(Account.decrypt(content, password))
        except ValueError as error:
            if "MAC" in str(error):
                raise WrongPassword(f"the password does not open key {name!r}") from None
            raise KeyFileDamaged(f"{self._path(name)}: {error}") from error
        except (KeyError, TypeError, NotImplementedError) as error:
            raise KeyFileDamaged(f"{self._path(name)}: {error!r}") from error
        if str(to_checksum_address(address_of(secret))) != key.address:
            raise KeyFileDamaged(f"{self._path(name)}: its key is not that of {key.address}")
        return secret
