"""Runs that a server shows, what it says of them, and a browser that looks at them."""

import http.client
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest

from equipoise.monitor import JsonLines
from equipoise.monitor._recording.run_file import RunInfo
from tests.marks import BROWSER
from tests.monitor.samples import Action, group, reading, tensor, verdict

DRIVER = shutil.which("chromedriver")
needs_driver = pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="needs chromium and chromedriver on the path")
NAMES = ("layer.0.weight", "layer.1.weight", "</script><script>document.title = 'run'</script>")
EVIL = "<img src=x onerror=\"document.title = 'run'\">&amp;"


def write(folder, steps, *, name="mine", trouble=False):
    """Readings of those steps, appended; in trouble, the loss has a spike and a NaN, and verdicts come with the last."""
    sink = JsonLines(folder)
    sink.open(RunInfo(name, 0.0, {}, NAMES, ((2,),) * 3, (0, 0, 0)))
    for step in steps:
        loss = 3 / (1 + step / 100)
        if trouble:
            loss = {300: 90.0, 500: math.nan}.get(step, loss)
        tensors = {one: tensor(0.1 * (1 + step % 5)) for one in NAMES}
        sink.write(reading(step, loss, time=time.time(), groups=(group(), group(0.2)), tensors=tensors))
    if trouble:
        sink.write(verdict(step, EVIL, where=NAMES[2:], message=EVIL, advice=EVIL))
        sink.write(Action("rollback", step, (), EVIL))
    sink.close()


@contextmanager
def served(*arguments):
    """The server as a process, and its port."""
    command = [sys.executable, "-m", "equipoise", "watch", "--web", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server, int(re.match(r"http://127\.0\.0\.1:(\d+)/", server.stdout.readline())[1])
        finally:
            server.send_signal(signal.SIGINT)


def get(port, path="/", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer, content


def events(port, count, path="/updates", **headers):
    """The first events of a stream: their ids and messages."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    assert answer.getheader("Content-Type").startswith("text/event-stream")
    found, last = [], ""
    while len(found) < count:
        line = answer.readline().decode().rstrip("\n")
        if line.startswith("id: "):
            last = line[4:]
        elif line.startswith("data: {"):
            found.append((last, json.loads(line[6:], parse_constant=lambda name: pytest.fail(name))))
    connection.close()
    return found


def settled(port, step, **headers):
    """The newest id and message of one run, once its whole file was taken in, up to that step."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        key, message = events(port, 1, **headers)[0]
        if message.get("step") == step:
            return key, message
        time.sleep(0.1)
    raise AssertionError(f"step {step} was not read")


def shown(**selection):
    """A selection as it stands in an address."""
    return urlencode({"show": json.dumps(selection)})


class Page:
    """A page in a real browser."""

    def __init__(self, profile):
        webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for flag in (
            *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
            *("disable-component-update", "disable-sync", f"user-data-dir={profile}"),
        ):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))

    def size(self, width, height=1000):
        values = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", values)

    def scheme(self, name):
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, port):
        self.driver.get(f"http://127.0.0.1:{port}/")
        self.until("document.querySelectorAll('#tensor-charts .curve').length")

    def value(self, expression):
        return self.driver.execute_script(f"return {expression}")

    def until(self, expression, expected=None):
        """Wait for an expression to become true, or what is expected."""
        deadline = time.monotonic() + 30
        while True:
            found = self.value(expression)
            if found == expected or (expected is None and found):
                return found
            assert time.monotonic() < deadline, (expression, found)
            time.sleep(0.05)

    def press(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]
