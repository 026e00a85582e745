"""Parameters of a venue: ranges, windows, encoding, hash."""

from dataclasses import replace

import pytest
from hawse.instruments import Instrument
from hawse.keys.eip712 import Domain
from hawse.state.config import VenueConfig
from hawse.wire import Geometry

PERP = Instrument(
    number=0,
    name="BTC/USD",
    numerator=1,
    denominator=100,
    initial_margin_ppm=50_000,
    maker_fee_ppm=200,
    taker_fee_ppm=500,
    count=16_384,
    base=60_000,
    first_mark=64_000,
)
CONFIG = VenueConfig(
    instruments=(PERP, replace(PERP, number=3, name="späť", first=24_576, count=8_192)),
    geometry=Geometry(),
    operator=b"op" * 10,
    chain_id=31337,
    contract=bytes(range(20)),
    token=bytes(range(20, 40)),
    insurance_ppm=7,
)


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("number", -1),
        ("number", 0xFFFF),
        ("numerator", 0),
        ("denominator", 0),
        ("initial_margin_ppm", 0),
        ("initial_margin_ppm", 1_000_001),
        ("maker_fee_ppm", -1),
        ("taker_fee_ppm", 1_000_001),
        ("base", 2**31 - 16_383),
        ("base", -(2**31) - 1),
        ("count", 32),
        ("count", 0),
        ("count", 16_383),
        ("first", -16_384),
        ("first", 64),
        ("first", 2**32),
        ("first_mark", -(2**31) - 1),
        ("name", "é" * 128),
    ],
)
def test_an_instrument_names_the_field_out_of_range(field, bad):
    with pytest.raises(ValueError, match=field):
        replace(PERP, **{field: bad})


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("instruments", ()),
        ("instruments", (PERP, PERP)),
        ("instruments", (replace(PERP, number=4),)),
        ("chain_id", -1),
        ("contract", bytes(19)),
        ("token", bytes(21)),
        ("operator", b""),
        ("first", (PERP, replace(PERP, number=1))),
        ("first", (PERP, replace(PERP, number=1, first=8_192, count=64))),
        ("count", (replace(PERP, first=32_768),)),
        ("insurance_ppm", 1_000_001),
        ("data_provider", 2),
    ],
)
def test_a_venue_names_the_field_out_of_range(field, bad):
    place = field if field in CONFIG.__dataclass_fields__ else "instruments"
    with pytest.raises(ValueError, match=field):
        replace(CONFIG, **{place: bad})


def test_the_encoding_comes_back():
    data = CONFIG.encode()
    assert VenueConfig.decode(data) == CONFIG
    for bad in (data[:-1], data + b"x", b"\x01" + data[1:], b""):
        with pytest.raises(ValueError):
            VenueConfig.decode(bad)


def test_rules_are_hashed_without_the_contract_that_names_them():
    assert (
        CONFIG.rules_hash() == replace(CONFIG, chain_id=5, contract=bytes(20), token=bytes(20)).rules_hash()
    )
    seen = {CONFIG.rules_hash()}
    for change in (
        {"insurance_ppm": 8},
        {"data_provider": 1},
        {"geometry": Geometry(pool=65_536)},
        {"operator": bytes(20)},
        {"instruments": (replace(PERP, base=59_999), CONFIG.instruments[1])},
        {"instruments": (PERP,)},
        {"instruments": (replace(PERP, taker_fee_ppm=501), CONFIG.instruments[1])},
    ):
        seen.add(replace(CONFIG, **change).rules_hash())
    assert len(seen) == 8


def test_the_domain_is_that_of_the_contract():
    assert CONFIG.domain == Domain(31337, bytes(range(20)))
