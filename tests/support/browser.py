"""A headless Chromium by its own protocol: pages, scripts in them, pictures of them."""

import asyncio
import base64
import itertools
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page:
    """One page.

    Attributes:
        complaints: what its console and its scripts complained about.
    """

    def __init__(self, socket):
        self._socket, self._numbers, self._answers = socket, itertools.count(1), {}
        self.complaints = []
        self._hearing = asyncio.create_task(self._hear())

    async def _hear(self):
        async for frame in self._socket:
            told = frame.json()
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            elif told["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(told["params"]["exceptionDetails"]))
            elif told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.complaints.append(str(told["params"]["entry"]))

    async def call(self, method, **parameters):
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        told = await asyncio.wait_for(self._answers[number], 30)
        assert "error" not in told, told
        return told["result"]

    async def go(self, url, width, height, mobile=False):
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        await self.call("Page.navigate", url=url)

    async def run(self, script):
        """The value of an expression."""
        told = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, script, seconds=20):
        """The value of an expression, once it holds."""
        for _ in range(int(seconds * 10)):
            if value := await self.run(script):
                return value
            await asyncio.sleep(0.1)
        raise AssertionError(
            f"never: {script}; {await self.run('document.body.innerText')}; {self.complaints}"
        )

    async def picture(self):
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])


@asynccontextmanager
async def browser():
    """Gives what opens a page."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]
        options += ["--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
        quiet = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}
        process = await asyncio.create_subprocess_exec(CHROMIUM, *options, **quiet)
        try:
            port = Path(folder, "DevToolsActivePort")
            for _ in range(300):
                if port.exists() and port.read_text().count("\n"):
                    break
                await asyncio.sleep(0.1)
            base = f"http://127.0.0.1:{port.read_text().split()[0]}"
            async with aiohttp.ClientSession() as session:
                sockets = []

                async def new():
                    async with session.put(f"{base}/json/new?about:blank") as reply:
                        where = (await reply.json())["webSocketDebuggerUrl"]
                    sockets.append(await session.ws_connect(where, max_msg_size=0))
                    return Page(sockets[-1])

                yield new
                for socket in sockets:
                    await socket.close()
        finally:
            process.terminate()
            await process.wait()
