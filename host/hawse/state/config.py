"""Parameters of a venue: fixed for its life, committed as the rules hash."""

import struct
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from tiny_keccak import keccak256

from hawse.keys.eip712 import Domain
from hawse.wire import Geometry

#: Parts per million in one.
PPM = 1_000_000
VERSION = 1
RULES_TAG = b"\x61"


@dataclass(frozen=True)
class Instrument:
    """A linear perpetual, margined and settled in quanta.

    Attributes:
        number: order book of the engine.
        name: for people, at most 255 bytes of UTF-8.
        numerator, denominator: quanta that one tick·lot is worth. For a tick of 1 USD, a lot of 1e-8 BTC and
            quanta of 1e-6 USD: 1/100.
        initial_margin_ppm: of the notional, 1 to 1,000,000.
        maker_fee_ppm, taker_fee_ppm: of the notional, 0 to 1,000,000.
        base: lowest price of the band, in ticks; the band has ``geometry.levels`` ticks.
        first_mark: mark price in ticks until the first slot brings one.

    Raises:
        ValueError: a value out of range, with the field named.
    """

    number: int
    name: str
    numerator: int
    denominator: int
    initial_margin_ppm: int
    maker_fee_ppm: int
    taker_fee_ppm: int
    base: int
    first_mark: int

    def __post_init__(self) -> None:
        for field, low, high in (
            ("number", 0, 0xFFFE),
            ("numerator", 1, 2**32 - 1),
            ("denominator", 1, 2**32 - 1),
            ("initial_margin_ppm", 1, PPM),
            ("maker_fee_ppm", 0, PPM),
            ("taker_fee_ppm", 0, PPM),
            ("base", -(2**31), 2**31 - 1),
            ("first_mark", -(2**31), 2**31 - 1),
        ):
            if not low <= getattr(self, field) <= high:
                raise ValueError(f"{field}: {getattr(self, field)} is not within {low}..{high}")
        if len(self.name.encode()) > 255:
            raise ValueError(f"name: {self.name!r} is longer than 255 bytes")


@dataclass(frozen=True)
class VenueConfig:
    """What a venue is: its instruments, the size of its engine, and what its signatures are good for.

    Attributes:
        instruments: each below ``geometry.instruments``, in ascending order of their number.
        geometry: of the engine.
        chain_id, contract: of the settlement contract, ``contract`` as 20 bytes.
        insurance_ppm: part of each slot's fees that goes to insurance.

    Raises:
        ValueError: a value out of range, with the field named.
    """

    instruments: tuple[Instrument, ...]
    geometry: Geometry
    chain_id: int
    contract: bytes
    insurance_ppm: int = 0

    def __post_init__(self) -> None:
        numbers = [i.number for i in self.instruments]
        if not numbers or numbers != sorted(set(numbers)) or numbers[-1] >= self.geometry.instruments:
            raise ValueError(
                f"instruments: numbers {numbers} are not ascending below {self.geometry.instruments}"
            )
        if not 0 <= self.insurance_ppm <= PPM:
            raise ValueError(f"insurance_ppm: {self.insurance_ppm} is not within 0..{PPM}")
        Domain(self.chain_id, self.contract)

    @cached_property
    def domain(self) -> Domain:
        """EIP-712 domain of every signature."""
        return Domain(self.chain_id, self.contract)

    def encode(self) -> bytes:
        """Canonical bytes of all of it, big-endian."""
        g = self.geometry
        out = [
            struct.pack(">BHIIB", VERSION, g.instruments, g.levels, g.orders, g.account_bits),
            self.chain_id.to_bytes(32, "big"),
            self.contract,
            struct.pack(">IH", self.insurance_ppm, len(self.instruments)),
        ]
        for i in self.instruments:
            name = i.name.encode()
            out.append(struct.pack(">HB", i.number, len(name)) + name)
            out.append(
                struct.pack(
                    ">IIIIIii",
                    i.numerator,
                    i.denominator,
                    i.initial_margin_ppm,
                    i.maker_fee_ppm,
                    i.taker_fee_ppm,
                    i.base,
                    i.first_mark,
                )
            )
        return b"".join(out)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The configuration that :meth:`encode` gave.

        Raises:
            ValueError: not such bytes.
        """
        try:
            version, instruments, levels, orders, account_bits = struct.unpack_from(">BHIIB", data)
            if version != VERSION:
                raise ValueError(f"version: {version}, not {VERSION}")
            chain_id, contract = int.from_bytes(data[12:44], "big"), data[44:64]
            insurance_ppm, count = struct.unpack_from(">IH", data, 64)
            at, found = 70, []
            for _ in range(count):
                number, length = struct.unpack_from(">HB", data, at)
                name = data[at + 3 : at + 3 + length].decode()
                found.append(Instrument(number, name, *struct.unpack_from(">IIIIIii", data, at + 3 + length)))
                at += 3 + length + 28
            geometry = Geometry(instruments, levels, orders, account_bits)
            config = cls(tuple(found), geometry, chain_id, contract, insurance_ppm)
        except struct.error as error:
            raise ValueError(f"configuration: {error}") from error
        if config.encode() != data:
            raise ValueError("configuration: not in canonical form")
        return config

    def rules_hash(self) -> bytes:
        """keccak256(0x61 ‖ encoding, with chain and contract zero), 32 bytes; the batch header carries it.

        The contract is deployed with the rules it enforces, so they cannot name it; EIP-712 binds both.
        """
        rules = replace(self, chain_id=0, contract=bytes(20))
        return bytes(keccak256(RULES_TAG + rules.encode()))
