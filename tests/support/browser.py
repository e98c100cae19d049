"""A real headless Chromium, driven over the DevTools protocol through a pipe.

https://chromedevtools.github.io/devtools-protocol/: with ``--remote-debugging-pipe`` Chromium reads commands from file
descriptor 3 and writes answers and events to 4, each as JSON that ends with NUL.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import PROJECT, need

PROGRAMS = ("chromium-headless-shell", "chromium")
AXE_FILE = PROJECT / ".cache/axe/axe.min.js"
_ANSWER_SECONDS = 30.0
_FIRST_FREE_DESCRIPTOR = 20
_KEYS = {"Enter": (13, "\r"), "Tab": (9, "")}


class Browser:
    """A running Chromium."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._buffer = b""
        self._last_id = 0
        self._pages: dict[str, Page] = {}

    def new_page(self, *, width: int = 1280, height: int = 900, is_dark: bool = False) -> Page:
        """A page in a profile of its own, with its size in CSS pixels."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        return page

    def call(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """Send one command and return its result; events that come meanwhile go to their pages."""
        self._last_id += 1
        message: dict[str, object] = {"id": self._last_id, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        _write_all(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            answer = self._receive(deadline)
            assert answer is not None, f"{method} was not answered"
            if answer.get("id") == self._last_id:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result = answer["result"]
                assert isinstance(result, dict)
                return result
            self._note(answer)

    def listen(self, seconds: float) -> None:
        """Take in the events of this time."""
        deadline = time.monotonic() + seconds
        while (event := self._receive(deadline)) is not None:
            self._note(event)

    def _note(self, event: dict[str, Any]) -> None:
        page = self._pages.get(event.get("sessionId", ""))
        if page is not None and "method" in event:
            page.events.append(event)

    def _receive(self, deadline: float) -> dict[str, Any] | None:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            part = os.read(self._answers, 1 << 16)
            assert part, "The browser has ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        content = json.loads(message)
        assert isinstance(content, dict)
        return content


class Page:
    """One page; ``events`` holds all events of its protocol since it was opened."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait_until("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        done = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait_until(self, expression: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not self.evaluate(f"!!({expression})"):
            assert time.monotonic() < deadline, f"never: {expression}\n{self.text()}"
            self._browser.listen(0.05)

    def text(self) -> str:
        """What a person can read."""
        return str(self.evaluate("document.body.innerText"))

    def fill(self, selector: str, text: str) -> None:
        """Replace what is in a field, as typed."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).select()")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        code, text = _KEYS[key]
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def click(self, selector: str) -> None:
        """Click in the middle of an element; it has to be visible."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        box = self.evaluate(
            f"(({{x, y, width, height}}) => [x, y, width, height])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        assert all(box[2:]), f"{selector} is not visible"
        where = {"x": box[0] + box[2] / 2, "y": box[1] + box[3] / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **where)

    def take_picture(self, path: Path) -> None:
        """The whole page, as PNG."""
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def parameters(self, method: str) -> list[dict[str, Any]]:
        """What the events of this kind said."""
        self._browser.listen(0.1)
        return [event["params"] for event in self.events if event["method"] == method]

    def requested_urls(self) -> list[str]:
        return [sent["request"]["url"] for sent in self.parameters("Network.requestWillBeSent")]

    def response_bodies(self) -> dict[str, str]:
        """The bodies of all responses so far, by the address and the id of the request."""
        urls = {got["requestId"]: got["response"]["url"] for got in self.parameters("Network.responseReceived")}
        finished = [ended["requestId"] for ended in self.parameters("Network.loadingFinished")]
        bodies = {}
        for request in filter(urls.__contains__, finished):
            got = self.call("Network.getResponseBody", requestId=request)
            content = base64.b64decode(got["body"]).decode("latin-1") if got["base64Encoded"] else got["body"]
            bodies[f"{urls[request]} {request}"] = content
        return bodies

    def faults(self) -> list[str]:
        """Exceptions, what was written to the console as an error, and violations of the policy.

        That a request was answered with 401, for example, is not one.
        """
        thrown = [str(one["exceptionDetails"]) for one in self.parameters("Runtime.exceptionThrown")]
        written = [
            str(one) for one in self.parameters("Runtime.consoleAPICalled") if one["type"] in ("error", "warning")
        ]
        logged = [one["entry"] for one in self.parameters("Log.entryAdded")]
        return [*thrown, *written, *(str(one) for one in logged if one["source"] != "network")]

    def accessibility_violations(self) -> list[str]:
        """What axe-core finds, one line each."""
        self.evaluate(need_axe())
        result = self.evaluate("axe.run({resultTypes: ['violations', 'incomplete']})")
        assert result["passes"], "axe-core has looked at nothing"
        return [
            f"{found['id']}: {found['help']}: {node['html']}"
            for found in result["violations"]
            for node in found["nodes"]
        ]


def need_axe() -> str:
    """The text of axe-core."""
    need("axe-core", AXE_FILE.exists(), "bash .ci/get_axe.sh (it needs npm)")
    return AXE_FILE.read_text()


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A Chromium without a window, with a profile that is removed afterwards."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    need("chromium", program is not None, f"apt-get install {PROGRAMS[0]}")
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        commands_out, commands_in = os.pipe()
        answers_out, answers_in = os.pipe()
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, _FIRST_FREE_DESCRIPTOR) for end in (commands_out, answers_in)]
        process = subprocess.Popen(
            [
                *("bash", "-c", 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"', "browser", *map(str, theirs), program),
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
                *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
                *(f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"),
            ],
            pass_fds=theirs,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": profile, "LANG": "C.UTF-8"},
        )
        for descriptor in (commands_out, answers_in, *theirs):
            os.close(descriptor)
        try:
            yield Browser(commands_in, answers_out)
        finally:
            os.close(commands_in)
            os.close(answers_out)
            process.terminate()
            process.wait(30)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
