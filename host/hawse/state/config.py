"""Parameters of a venue: fixed for its life, committed as the rules hash."""

import struct
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from tiny_keccak import keccak256

from hawse.commit.data import NOWHERE, ON_CHAIN
from hawse.instruments import NO_UNDERLYING, PPM, Instrument, Kind, Underlying
from hawse.keys.eip712 import Domain
from hawse.risk.errors import RiskError
from hawse.risk.liquidation import LiquidationTerms
from hawse.wire import Geometry

VERSION = 2
RULES_TAG = b"\x61"
#: Version and geometry.
_HEAD = struct.Struct(">BHIIB")
#: Chain id, contract, token, operator, insurance_ppm, the limits.
_VENUE = struct.Struct(">32s20s20s20sIQIBIHIHIB")
#: Number of instruments.
_COUNT = struct.Struct(">H")
_LIMITS = (
    "insurance_ppm",
    "minimum_deposit",
    "order_quota",
    "position_quota",
    "mark_step_ppm",
    "account_quota",
    "reuse_batches",
    "reserved_tags",
    "reserved_handles",
    "data_provider",
)
#: All of an instrument but its number and name.
_TERMS = struct.Struct(">IIIIIIIiiIQHIIBQQIIIQ")
_TERM_NAMES = (
    "numerator",
    "denominator",
    "initial_margin_ppm",
    "maker_fee_ppm",
    "taker_fee_ppm",
    "first",
    "count",
    "base",
    "first_mark",
    "minimum_quantity",
    "minimum_notional",
    "underlying",
    "mark_bound_ppm",
    "maintenance_ppm",
    "kind",
    "expiry",
    "window",
    "patience",
    "funding_interval",
    "funding_cap_ppm",
    "impact_notional",
)
#: How accounts are closed: fields of :class:`LiquidationTerms`.
_LIQUIDATION = struct.Struct(">IQQIIII")
_LIQUIDATION_NAMES = ("share_ppm", "whole", "most", "begin_ppm", "steps", "fee_ppm", "cap")
#: Where nothing else is said: quarters, from 0.5 % beside the mark on, in four steps; 0.5 % to insurance.
DEFAULT_LIQUIDATION = LiquidationTerms(
    share_ppm=250_000, whole=100, most=2**32 - 1, begin_ppm=5_000, steps=4, fee_ppm=5_000, cap=16
)
#: All of an underlying but its number, name and publishers, whose number comes last.
_UNDERLYING = struct.Struct(">BIIIB")
_UNDERLYING_NAMES = ("quorum", "staleness", "ahead", "deviation_ppm")


@dataclass(frozen=True, kw_only=True)
class VenueConfig:
    """What a venue is: its instruments, the size of its engine, and what its signatures are good for.

    Attributes:
        instruments: each below ``geometry.instruments``, in ascending order of their number, with windows
            that share no level.
        underlyings: what they are about, in ascending order of their number.
        geometry: of the engine.
        operator: address whose signature an operator's input has, 20 bytes.
        chain_id, contract, token: of the settlement contract and what it holds, the latter two 20 bytes.
        insurance_ppm: part of each slot's fees that goes to insurance.
        minimum_deposit: quanta that open an account, at least.
        order_quota: open orders of an owner, at most.
        position_quota: instruments in which an account has a position or an order, at most 32.
        mark_step_ppm: part of an instrument's mark by which the next may differ, or a tick if that is more.
        account_quota: accounts of an owner, at most.
        reuse_batches: so many batches behind the one in which it was emptied an account's index may be given
            again.
        reserved_tags, reserved_handles: of the engine's, which are kept free for the machine's own orders.
        data_provider: where the data of batches is: 0 nowhere, 1 on the chain (:mod:`hawse.commit.data`).
        liquidation: how accounts are closed that do not carry their positions.

    Raises:
        ValueError: a value out of range, with the field named.
    """

    instruments: tuple[Instrument, ...]
    geometry: Geometry
    operator: bytes
    chain_id: int = 0
    contract: bytes = bytes(20)
    token: bytes = bytes(20)
    insurance_ppm: int = 0
    minimum_deposit: int = 1
    order_quota: int = 256
    position_quota: int = 16
    mark_step_ppm: int = 50_000
    account_quota: int = 16
    reuse_batches: int = 1024
    reserved_tags: int = 0
    reserved_handles: int = 0
    data_provider: int = NOWHERE
    underlyings: tuple[Underlying, ...] = ()
    liquidation: LiquidationTerms = DEFAULT_LIQUIDATION

    def __post_init__(self) -> None:
        numbers = [i.number for i in self.instruments]
        if not numbers or numbers != sorted(set(numbers)) or numbers[-1] >= self.geometry.instruments:
            raise ValueError(
                f"instruments: numbers {numbers} are not ascending below {self.geometry.instruments}"
            )
        self._check_windows()
        self._check_underlyings()
        for field, low, high in (
            ("insurance_ppm", 0, PPM),
            ("minimum_deposit", 1, 2**63 - 1),
            ("order_quota", 1, 2**32 - 1),
            ("position_quota", 1, 32),
            ("mark_step_ppm", 1, 2**32 - 1),
            ("account_quota", 1, 2**16 - 1),
            ("reuse_batches", 1, 2**32 - 1),
            ("reserved_tags", 0, (1 << self.geometry.tag_bits) - 2),
            ("reserved_handles", 0, self.geometry.orders - 1),
            ("data_provider", NOWHERE, ON_CHAIN),
        ):
            if not low <= getattr(self, field) <= high:
                raise ValueError(f"{field}: {getattr(self, field)} is not within {low}..{high}")
        for field in ("operator", "token"):
            if len(getattr(self, field)) != 20:
                raise ValueError(f"{field}: {len(getattr(self, field))} bytes, not 20")
        Domain(self.chain_id, self.contract)

    def _check_underlyings(self) -> None:
        numbers = [u.number for u in self.underlyings]
        if numbers != sorted(set(numbers)):
            raise ValueError(f"underlyings: numbers {numbers} are not ascending")
        for i in self.instruments:
            if i.underlying not in (*numbers, NO_UNDERLYING):
                raise ValueError(
                    f"underlying: {i.underlying} of instrument {i.number} is not among {numbers}"
                )
        observed = [u.number for u in self.underlyings if u.publishers]
        for i in self.instruments:
            if i.expiry and i.underlying not in observed:
                what = f"underlying: {i.underlying} of instrument {i.number}, which expires"
                raise ValueError(f"{what}, is not among those with publishers, {observed}")

    def _check_windows(self) -> None:
        end, before = 0, 0
        for i in sorted(self.instruments, key=lambda i: i.first):
            if i.first < end:
                raise ValueError(f"first: {i.first} of instrument {i.number} is within that of {before}")
            end, before = i.first + i.count, i.number
        if end > self.geometry.pool:
            raise ValueError(
                f"count: instrument {before} ends at level {end} of a pool of {self.geometry.pool}"
            )

    @cached_property
    def domain(self) -> Domain:
        """EIP-712 domain of every signature."""
        return Domain(self.chain_id, self.contract)

    def encode(self) -> bytes:
        """Canonical bytes of all of it, big-endian."""
        g, chain_id = self.geometry, self.chain_id.to_bytes(32, "big")
        ours = (chain_id, self.contract, self.token, self.operator)
        out = [
            _HEAD.pack(VERSION, g.instruments, g.pool, g.orders, g.tag_bits),
            _VENUE.pack(*ours, *(getattr(self, name) for name in _LIMITS)),
            _LIQUIDATION.pack(*(getattr(self.liquidation, name) for name in _LIQUIDATION_NAMES)),
            _COUNT.pack(len(self.instruments)),
        ]
        for i in self.instruments:
            name = i.name.encode()
            out.append(struct.pack(">HB", i.number, len(name)) + name)
            out.append(_TERMS.pack(*(getattr(i, term) for term in _TERM_NAMES)))
        out.append(struct.pack(">H", len(self.underlyings)))
        for u in self.underlyings:
            name = u.name.encode()
            out.append(struct.pack(">HB", u.number, len(name)) + name)
            limits = (getattr(u, limit) for limit in _UNDERLYING_NAMES)
            out.append(_UNDERLYING.pack(*limits, len(u.publishers)) + b"".join(u.publishers))
        return b"".join(out)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The configuration that :meth:`encode` gave.

        Raises:
            ValueError: not such bytes.
        """
        try:
            config = cls._decode(data)
        except (struct.error, RiskError) as error:
            raise ValueError(f"configuration: {error}") from error
        if config.encode() != data:
            raise ValueError("configuration: not in canonical form")
        return config

    @classmethod
    def _decode(cls, data: bytes) -> Self:
        version, *sizes = _HEAD.unpack_from(data)
        if version != VERSION:
            raise ValueError(f"version: {version}, not {VERSION}")
        chain_id, contract, token, operator, *limits = _VENUE.unpack_from(data, _HEAD.size)
        at, found = _HEAD.size + _VENUE.size, []
        closing = dict(zip(_LIQUIDATION_NAMES, _LIQUIDATION.unpack_from(data, at), strict=True))
        (count,) = _COUNT.unpack_from(data, at + _LIQUIDATION.size)
        at += _LIQUIDATION.size + _COUNT.size
        for _ in range(count):
            number, length = struct.unpack_from(">HB", data, at)
            name, at = data[at + 3 : at + 3 + length].decode(), at + 3 + length
            terms = dict(zip(_TERM_NAMES, _TERMS.unpack_from(data, at), strict=True))
            terms["kind"] = Kind(terms["kind"])
            found.append(Instrument(number=number, name=name, **terms))
            at += _TERMS.size
        (count,), at = struct.unpack_from(">H", data, at), at + 2
        underlyings = []
        for _ in range(count):
            number, length = struct.unpack_from(">HB", data, at)
            name, at = data[at + 3 : at + 3 + length].decode(), at + 3 + length
            *values, people = _UNDERLYING.unpack_from(data, at)
            at += _UNDERLYING.size
            publishers = tuple(data[n : n + 20] for n in range(at, at + 20 * people, 20))
            at += 20 * people
            named = dict(zip(_UNDERLYING_NAMES, values, strict=True))
            underlyings.append(Underlying(number=number, name=name, publishers=publishers, **named))
        return cls(
            instruments=tuple(found),
            underlyings=tuple(underlyings),
            geometry=Geometry(*sizes),
            operator=operator,
            chain_id=int.from_bytes(chain_id, "big"),
            contract=contract,
            token=token,
            liquidation=LiquidationTerms(**closing),
            **dict(zip(_LIMITS, limits, strict=True)),
        )

    def rules_hash(self) -> bytes:
        """keccak256(0x61 ‖ encoding, with chain, contract and token zero), 32 bytes; the header carries it.

        The contract is deployed with the rules it enforces, so they cannot name it; EIP-712 binds both, and
        the header's hash of the assets the token.
        """
        rules = replace(self, chain_id=0, contract=bytes(20), token=bytes(20))
        return bytes(keccak256(RULES_TAG + rules.encode()))
