"""A real browser for tests: Debian's Chromium, spoken to in the DevTools protocol through a pipe. Standard library alone.

with Browser() as browser:
    tab = browser.open(path)
    tab.run("document.title")
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

PATIENCE = 60.0
"""Seconds that anything may take: the machine may be busy."""

CHROMIUM = shutil.which("chromium")


class Browser:
    """A running Chromium without a window, which keeps nothing."""

    def __init__(self) -> None:
        assert CHROMIUM is not None
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        its_in, self._out = os.pipe()
        self._in, its_out = os.pipe()
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--hide-scrollbars",
        ]
        quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"]
        command = [CHROMIUM, *flags, *quiet, f"--user-data-dir={self._folder.name}", "--remote-debugging-pipe", "about:blank"]
        # The protocol's pipe is file descriptors 3 and 4; a shell puts ours there.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{its_in} 4>&{its_out}', "chromium", *command],
            pass_fds=(its_in, its_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_in)
        os.close(its_out)
        self._numbers = itertools.count(1)
        self._rest = b""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
        os.close(self._out)
        os.close(self._in)
        self._folder.cleanup()

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result. Events that come in between are kept."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._next(deadline)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self.events.append(answer)

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "Chromium does not answer"
            data = os.read(self._in, 1 << 20)
            assert data, "Chromium has ended"
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(text))

    def open(self, path: Path, *, width: int = 1200, height: int = 900, dark: bool = False, selection: str = "") -> Tab:
        """A page from a file, once it has drawn itself (as far as it does: `data-ready` says so)."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session, target)
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.call(f"{domain}.enable")
        tab.call("Performance.enable", timeDomain="threadTicks")
        tab.call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        tab.call("Emulation.setEmulatedMedia", features=features)
        tab.call("Page.navigate", url=path.resolve().as_uri() + (f"#{selection}" if selection else ""))
        tab.wait("document.readyState === 'complete'")
        return tab


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self._session, self._target = browser, session, target

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command for this page."""
        return self._browser.call(method, self._session, **parameters)

    def run(self, script: str) -> Any:
        """The value of an expression, as JSON can hold it."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, f"{script}: {done['exceptionDetails']}"
        return done["result"].get("value")

    def wait(self, script: str) -> None:
        """Until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.run(script):
            assert time.monotonic() < deadline, f"never true: {script}"
            time.sleep(0.02)

    def ready(self) -> None:
        """Until the page has drawn itself."""
        self.wait("document.documentElement.dataset.ready !== undefined")
        assert self.run("document.documentElement.dataset.ready") == "yes", self.run("document.body.innerText")

    def settle(self) -> None:
        """Until what was asked for is painted."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")

    def click(self, selector: str) -> None:
        """A click of the mouse in the middle of an element."""
        script = f"""(() => {{ const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{ block: 'center' }}); const box = element.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2]; }})()"""
        x, y = self.run(script)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def press(self, key: str) -> None:
        """One key."""
        codes = {"End": 35, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "Enter": 13}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key])
        self.settle()

    def seconds_worked(self) -> float:
        """How long the page has computed: time of its own thread, whatever else the machine does."""
        metrics = {one["name"]: one["value"] for one in self.call("Performance.getMetrics")["metrics"]}
        return float(metrics["TaskDuration"])

    def frame(self, number: int) -> Tab:
        """A frame of the page that has a process of its own, as frames in a sandbox have."""
        deadline = time.monotonic() + PATIENCE
        while True:
            self.settle()
            attached = [event["params"] for event in self._of("Target.attachedToTarget")]
            frames = [one for one in attached if one["targetInfo"]["type"] == "iframe"]
            if len(frames) > number:
                return Tab(self._browser, frames[number]["sessionId"], frames[number]["targetInfo"]["targetId"])
            assert time.monotonic() < deadline, f"the page has {len(frames)} such frames"

    def screenshot(self, box: Sequence[float] | None = None) -> bytes:
        """What one sees, or the part of it in a box (x, y, width, height), as PNG."""
        self.settle()
        clip = {} if box is None else {"clip": {**dict(zip(("x", "y", "width", "height"), box, strict=True)), "scale": 1}}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **clip)["data"])

    def box(self, selector: str) -> list[float]:
        """Where an element is on the page, once it is in sight: x, y, width, height."""
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{ block: 'center' }})")
        self.settle()
        box = self.run(f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()")
        left, top = self.run("[scrollX, scrollY]")
        return [box["x"] + left, box["y"] + top, box["width"], box["height"]]

    def complaints(self) -> list[str]:
        """What the console has heard, uncaught errors and what the browser refused."""
        self.settle()
        return [
            json.dumps(event["params"])[:600]
            for event in self._of("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        ]

    def requests(self) -> list[str]:
        """Every address that was asked for."""
        return [event["params"]["request"]["url"] for event in self._of("Network.requestWillBeSent")]

    def _of(self, *methods: str) -> list[dict[str, Any]]:
        return [
            event
            for event in self._browser.events
            if event.get("method") in methods and event.get("sessionId") == self._session
        ]

    def close(self) -> None:
        """Close the page."""
        self._browser.call("Target.closeTarget", targetId=self._target)
