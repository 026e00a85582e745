from dataclasses import replace

import pytest
from hawse.keys.eip712 import Domain
from hawse.state.config import Instrument, VenueConfig
from hawse.wire import Geometry

PERP = Instrument(0, "BTC/USD", 1, 100, 50_000, 200, 500, 60_000, 64_000)
CONFIG = VenueConfig((PERP, replace(PERP, number=3, name="späť")), Geometry(), 31337, bytes(range(20)), 7)


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
        ("base", 2**31),
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
        ("insurance_ppm", 1_000_001),
    ],
)
def test_a_venue_names_the_field_out_of_range(field, bad):
    with pytest.raises(ValueError, match=field):
        replace(CONFIG, **{field: bad})


def test_the_encoding_comes_back():
    data = CONFIG.encode()
    assert VenueConfig.decode(data) == CONFIG
    for bad in (data[:-1], data + b"x", b"\x02" + data[1:], b""):
        with pytest.raises(ValueError):
            VenueConfig.decode(bad)


def test_rules_are_hashed_without_the_contract_that_names_them():
    assert CONFIG.rules_hash() == replace(CONFIG, chain_id=5, contract=bytes(20)).rules_hash()
    seen = {CONFIG.rules_hash()}
    for change in (
        {"insurance_ppm": 8},
        {"geometry": Geometry(levels=4096)},
        {"instruments": (PERP,)},
        {"instruments": (replace(PERP, taker_fee_ppm=501), CONFIG.instruments[1])},
    ):
        seen.add(replace(CONFIG, **change).rules_hash())
    assert len(seen) == 5


def test_the_domain_is_that_of_the_contract():
    assert CONFIG.domain == Domain(31337, bytes(range(20)))
