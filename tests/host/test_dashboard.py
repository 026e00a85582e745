"""The dashboard: what it signs, and what a browser makes of it."""

import asyncio
import io
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hawse.gateway import pages
from hawse.keys import lines, structs
from hawse.keys.eip712 import Domain, digests
from hawse.keys.signing import recover_digest
from support.browser import CHROMIUM, browser
from support.live import KEYS, LiveVenue

PAGE = Path(pages.__file__).with_name("page")
VECTORS = json.loads((Path(lines.__file__).with_name("vectors.json")).read_text())
BTC = {"kind": "order", "instrument": 0}
#: The page of docs/trader.md; HAWSE_PICTURES=1 makes it anew.
PICTURE = Path(__file__).parents[2] / "docs" / "dashboard.png"


def test_nothing_on_the_page_comes_from_elsewhere():
    for path in PAGE.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert (
            "http:" not in text and "https://" not in text and "eval(" not in text and "innerHTML" not in text
        )
    served = {name for _, name, _ in pages._FILES}
    assert served == {path.name for path in PAGE.iterdir()}


@pytest.mark.skipif(shutil.which("node") is None, reason="node runs the page's scripts without a browser")
def test_the_page_signs_what_the_host_takes():
    script = """
import { readFileSync } from "node:fs";
import { address, digest, hex, keccak256, separator, sign, unhex } from "PAGE/sign.js";
const v = JSON.parse(readFileSync(0)), domain = separator(v.domain.chainId, v.domain.verifyingContract);
const key = unhex(v.private_key, 32);
const big = (one) => ({ ...one, ...("client_id" in one ? { client_id: BigInt(one.client_id) } : {}) });
const digests = v.lines.map(([kind, line]) => digest(domain, kind, big(line)));
console.log(JSON.stringify({
  separator: hex(domain), address: address(key), digests: digests.map(hex),
  signatures: digests.map((one) => sign(key, one)),
  hashes: v.texts.map((one) => hex(keccak256(unhex(one, one.length / 2)))),
}));
""".replace("PAGE", PAGE.as_uri())
    from tiny_keccak import keccak256

    kinds = ("order", "cancel", "cancel_all")
    given = [(m["kind"], m["line"], m["digest"]) for m in VECTORS["messages"] if m["kind"] in kinds]
    session = VECTORS["structs"][-1]
    given.append(("session", session["message"], session["digest"]))
    texts = [bytes(range(n)).hex() for n in (0, 1, 31, 135, 136, 137, 255)]
    told = VECTORS | {
        "lines": [(kind, line | {"client_id": str(line.get("client_id", 0))}) for kind, line, _ in given],
        "texts": texts,
    }
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script],
        input=json.dumps(told).encode(),
        capture_output=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["separator"] == "0x" + VECTORS["domain"]["separator"]
    assert found["address"] == "0x" + VECTORS["address"]
    assert found["digests"] == ["0x" + digest for _, _, digest in given]
    assert found["hashes"] == ["0x" + bytes(keccak256(bytes.fromhex(text))).hex() for text in texts]
    for digest, signature in zip(found["digests"], found["signatures"], strict=True):
        signer = recover_digest(bytes.fromhex(digest[2:]), bytes.fromhex(signature[2:]))
        assert signer is not None and signer.hex() == VECTORS["address"]
    # The session's vector is the host's own word for it, and an order's is that of its rows.
    domain = Domain(VECTORS["domain"]["chainId"], bytes.fromhex(VECTORS["domain"]["verifyingContract"][2:]))
    values = [bytes.fromhex(v[2:]) if isinstance(v, str) else v for v in session["message"].values()]
    assert "0x" + domain.digest(structs.session(*values)).hex() == found["digests"][-1]
    assert "0x" + digests(lines.parse(json.dumps(given[0][1])), domain)[0].hex() == found["digests"][0]


@pytest.fixture(scope="module")
def venue(tmp_path_factory):
    venue = LiveVenue(tmp_path_factory.mktemp("dashboard") / "venue", "--batch-seconds", "1")
    for n in range(24):
        taker, maker = 1 + n % 3, 4 + n % 3
        price, side, other = 78_000 + (n * 7) % 11, *(("buy", "sell") if n % 2 else ("sell", "buy"))
        venue.command(maker, **BTC, client_id=100 + n, side=side, price=price, quantity=200_000_000)
        venue.command(taker, **BTC, client_id=100 + n, side=other, price=price, quantity=90_000_000 + n)
        venue.command(
            7, **BTC, client_id=100 + n, side="buy", price=77_990 - n, quantity=10_000_000 * (1 + n % 4)
        )
        venue.command(
            8, **BTC, client_id=100 + n, side="sell", price=78_020 + n, quantity=10_000_000 * (1 + n % 5)
        )
    yield venue
    venue.close()
    assert "Traceback" not in venue.errors()


@pytest.mark.ci
@pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed")
@pytest.mark.parametrize(("width", "height", "mobile"), [(1400, 1250, False), (390, 844, True)])
def test_a_browser_shows_the_venue_and_trades(venue, width, height, mobile, tmp_path):
    who = 9 + mobile
    before = len(venue.get("/v1/account/fills", venue.session(who))[1]["lines"])

    async def work():
        async with browser() as new:
            page = await new()
            await page.go(venue.url, width, height, mobile)
            await page.until("document.querySelectorAll('#book tr').length >= 20")
            await page.until("document.querySelectorAll('#trades tr').length >= 20")
            await page.until("document.querySelectorAll('#batches tr').length >= 1")
            await page.until("document.querySelectorAll('#margin .bar').length >= 2")
            assert await page.run("document.querySelector('#state').textContent") == "live"
            # Nothing is wider than the screen.
            assert await page.run("document.documentElement.scrollWidth") <= width
            await page.run(f"document.querySelector('#key').value = '{KEYS[who - 1].hex()}'")
            await page.run("document.querySelector('#open button').click()")
            await page.until("!document.querySelector('#order').hidden")
            assert await page.run("document.querySelector('#key').value") == ""
            await page.run("document.querySelector('#price').value = 78100")
            await page.run("document.querySelector('#quantity').value = 100000")
            await page.run("document.querySelector('#order button[value=buy]').click()")
            await page.until("document.querySelector('#outcomes').textContent.includes('trade')")
            await page.run("document.querySelector('#price').value = 75000")
            await page.run("document.querySelector('#order button[value=buy]').click()")
            await page.until("document.querySelectorAll('#orders tr').length == 1")
            picture = await page.picture()
            await page.run("document.querySelector('#orders button').click()")
            await page.until("document.querySelectorAll('#orders tr').length == 0")
            assert page.complaints == []
            return picture

    picture = asyncio.run(asyncio.wait_for(work(), 120))
    (tmp_path / "page.png").write_bytes(picture)
    fills = venue.get("/v1/account/fills", venue.session(who))[1]["lines"]
    assert len(fills) == before + 1 and fills[-1]["quantity"] == 100_000
    if os.environ.get("HAWSE_PICTURES") and not mobile:
        from PIL import Image

        Image.open(io.BytesIO(picture)).convert("RGB").quantize(64).save(PICTURE, optimize=True)


@pytest.mark.ci
@pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed")
def test_a_page_outlives_its_host(venue):
    async def work():
        async with browser() as new:
            page = await new()
            await page.go(venue.url, 1400, 1000)
            await page.until("document.querySelector('#state')?.textContent == 'live'")
            await asyncio.to_thread(venue.stop)
            await page.until("document.querySelector('#state').textContent != 'live'")
            await asyncio.to_thread(venue.start)
            await page.until("document.querySelector('#state')?.textContent == 'live'")
            seen = await page.run("document.querySelector('#trades td:last-child')?.textContent")
            order = {
                **BTC,
                "client_id": int(time.time()),
                "side": "buy",
                "price": 78_100,
                "quantity": 100_000,
            }
            await asyncio.to_thread(lambda: venue.command(10, **order))
            await page.until(f"document.querySelector('#trades td:last-child')?.textContent != '{seen}'")

    asyncio.run(asyncio.wait_for(work(), 120))
