"""The page of ``equipoise watch --web``: what is served, to whom, and what a browser makes of it."""

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
from pathlib import Path
from urllib.parse import urlencode

import pytest

from equipoise.monitor import JsonLines
from equipoise.monitor._recording.run_file import RunInfo
from equipoise.watch._overview import BUCKETS
from tests.marks import BROWSER
from tests.monitor.samples import Action, group, reading, tensor, verdict

NAMES = ("layer.0.weight", "layer.1.weight", "</script><script>document.title = 'run'</script>")
EVIL = "<img src=x onerror=\"document.title = 'run'\">&amp;"
DRIVER = shutil.which("chromedriver")
needs_driver = pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="needs chromium and chromedriver on the path")


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


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("runs")
    write(base / "a", range(1, 801))
    write(base / "b", range(1, 701), name=EVIL, trouble=True)
    return base / "a", base / "b"


@pytest.fixture(scope="module")
def port(folders):
    with served(*folders) as (_, port):
        yield port


# ---- what is served


def test_the_page_may_load_nothing_run_only_its_own_script_and_is_never_the_same_twice(port):
    answer, content = get(port)
    policy = answer.getheader("Content-Security-Policy")
    (once,) = set(re.findall(r"'nonce-([^']+)'", policy))
    assert policy.startswith("default-src 'none'; script-src 'nonce-")
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert content.count(f'nonce="{once}"') == 2
    assert "{{" not in content
    assert get(port)[1] != content
    assert set(re.findall(r"https?://[^\s\"'<]+", content)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(?:link|img|iframe|object|embed)|@import|innerHTML|insertAdjacentHTML|\beval\(", content)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example"])
@pytest.mark.parametrize("path", ["/", "/updates", "/window?of=0&first=0&last=9"])
def test_a_page_of_another_name_that_was_bent_to_this_machine_is_refused(port, host, path):
    answer, content = get(port, path, Host=host.format(port=port))
    assert (answer.status, content) == (400, "Invalid host header")


def test_the_page_answers_to_both_names_of_this_machine_and_listens_nowhere_else(port):
    assert get(port, Host=f"localhost:{port}")[0].status == 200
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = {fields[1].split(":")[0] for fields in listening if fields[1].endswith(f":{port:04X}") and fields[3] == "0A"}
    assert addresses == {"0100007F"}


def test_events_continue_where_the_last_one_ended(tmp_path):
    write(tmp_path, range(1, 11))
    with served(tmp_path) as (_, port):
        key, message = settled(port, 10)
        assert [(part["first"], part["steps"][0]) for part in message["curves"]] == [(0, list(range(1, 11)))] * 2
        write(tmp_path, [11, 12])
        _, found = settled(port, 12, Last_Event_ID=key)
        assert [(part["first"], part["steps"]) for part in found["curves"]] == [(9, [[10, 11, 12], [10, 11, 12]])] * 2
        start = key.partition("/")[0]
        others = [key.replace("1.10", other) for other in ("2.10", "1.x", "1.", "x")]
        for strange in ("", "nonsense", "0 nonsense", "0 other/1.10/1.10/0.0,1 x", start, f"{start}//", *others):
            for part in events(port, 1, Last_Event_ID=strange)[0][1]["curves"]:
                assert part["first"] == 0
        far = key.replace("1.10", "1.99999")
        assert [part["steps"][0] for part in events(port, 1, Last_Event_ID=far)[0][1]["curves"]] == [[12]] * 2


def test_what_is_sent_of_a_long_run_is_bounded_and_has_the_extremes_and_the_nan(tmp_path):
    write(tmp_path, range(1, 5001), trouble=True)
    with served(tmp_path) as (_, port):
        _, message = settled(port, 5000)
    low, high, nonfinite = message["curves"][0]["series"]["metrics/loss"]
    assert len(low) == len(high) == 625 <= BUCKETS
    assert max(high) == 90.0
    assert nonfinite == [499 // 8]
    assert [event["kind"] for event in message["events"]] == ["verdict", "action"]


def test_a_closer_look_has_every_reading_and_numbers_that_are_none_are_refused(port):
    answer, content = get(port, f"/window?of=1&first=299&last=301&{shown(tensor='layer.0.weight')}")
    found = json.loads(content)
    assert (answer.status, [part["steps"][0] for part in found]) == (200, [[298, 299, 300, 301]] * 2)
    assert found[0]["series"]["metrics/loss"][1][2] == 90.0
    assert found[1]["series"]["gradient_rms/layer.0.weight"][0] == pytest.approx([0.4, 0.5, 0.1, 0.2])
    for query in ("of=x&first=1&last=2", "of=7&first=1&last=2", "of=0"):
        assert get(port, f"/window?{query}")[0].status == 400


@pytest.mark.parametrize("nonsense", ['{"group": "x"}', '{"group": true}', '{"other": 1}', "[]", "{", '{"page": 1.5}'])
def test_what_is_no_selection_is_refused(port, nonsense):
    for path in ("/updates?", "/window?of=0&first=1&last=2&"):
        assert get(port, path + urlencode({"show": nonsense}))[0].status == 400


def test_a_port_that_is_taken_is_unusable_input(run, folders, port):
    assert run("watch", "--web", "--port", port, folders[0]) == (
        2,
        "",
        f"error: port {port} cannot be used: Address already in use\n",
    )


def test_ctrl_c_ends_the_server_cleanly_even_while_a_page_is_open(folders):
    with served(folders[0]) as (server, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/updates")
        connection.getresponse().readline()
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) == 0
        connection.close()


# ---- what a browser makes of it


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


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    page = Page(tmp_path_factory.mktemp("profile"))
    yield page
    page.driver.quit()


@pytest.fixture
def page(browser, port):
    browser.size(1200)
    browser.open(port)
    browser.until("document.querySelectorAll('#runs li').length", 2)
    browser.until("document.getElementById('runs').textContent.includes('step 700')")
    browser.complaints()
    return browser


def asked(page):
    """The steps that are shown."""
    return tuple(int(page.value(f"document.getElementById('{name}').value")) for name in ("from", "to"))


TEXT = "document.body.textContent"
TITLES = "[...document.querySelectorAll('figure:not([hidden]) h3')].map(title => title.textContent)"


@needs_driver
def test_runs_are_drawn_from_this_server_alone_without_a_complaint(page):
    assert page.value("document.getElementById('connection').textContent") == "connected"
    titles = page.value(TITLES)
    assert titles[:2] == ["loss", "stability margin, nats per step (dashed: least ahead)"]
    assert {"learning rate", "gradient RMS, loss per weight", "relative step, |lr * update| / |weight|"} <= set(titles)
    assert "norm / the norm that updates predict" not in titles  # known of none
    paths = page.value("[...document.querySelectorAll('figure:not([hidden]) .curve')].map(curve => curve.getAttribute('d'))")
    assert len(paths) > 20
    assert not re.search("NaN|undefined|Infinity", " ".join(paths))
    assert page.value("document.querySelectorAll('#metrics .curve').length") == 2
    origins = page.value("performance.getEntriesByType('resource').map(entry => new URL(entry.name).origin)")
    assert set(origins) <= {page.value("location.origin")}
    assert page.complaints() == []


@needs_driver
def test_text_of_a_run_is_text_in_the_page(page):
    assert EVIL in page.value("document.getElementById('runs').textContent")
    assert EVIL in page.value("document.getElementById('now').textContent")
    assert EVIL in page.value("document.getElementById('log-of-events').textContent")
    assert NAMES[2] in page.value("document.getElementById('table').textContent")
    assert page.value("document.querySelectorAll('img').length") == 0
    assert page.value("document.querySelectorAll('script').length") == 1
    assert page.value("document.title") == "2 runs"


@needs_driver
def test_a_value_that_is_not_finite_is_marked_and_a_spike_is_cut_only_as_long_as_one_wants(page):
    loss = "document.querySelector('#metrics figure')"
    assert page.value(f"[...{loss}.querySelectorAll('.wrong')].map(mark => mark.textContent)") == ["✕"]
    assert page.value(f"{loss}.querySelector('figcaption').textContent") == "Cut: up to 90."
    ticks = f"[...{loss}.querySelectorAll('text[text-anchor=end]')].map(text => parseFloat(text.textContent))"
    highest = f"Math.max(...{ticks})"
    assert page.value(highest) < 10
    page.value("document.getElementById('cut').click()")
    page.until(f"{highest} >= 50")
    page.value("document.getElementById('cut').click()")


@needs_driver
def test_everything_can_be_done_with_the_keyboard(page):
    from selenium.webdriver import Keys

    loss = "document.querySelector('#metrics svg')"
    caption = "document.querySelector('#metrics figcaption').textContent"
    page.value("document.getElementById('all').focus()")
    for _ in range(12):
        page.press(Keys.TAB)
        if page.value(f"document.activeElement === {loss}"):
            break
    assert page.value(f"document.activeElement === {loss}")
    page.press(Keys.ARROW_RIGHT)
    page.until(f"/^step 42\\d: mine/.test({caption})")
    page.press("+")
    page.until("document.getElementById('from').value !== ''")
    first, last = asked(page)
    assert 200 < first < 421 < last < 650
    page.until(f"{loss}.getAttribute('aria-label').startsWith('loss, steps {first} to {last}')")
    page.press(Keys.ESCAPE)
    page.until("document.getElementById('from').value", "")
    page.value("document.querySelectorAll('#table button')[1].focus()")
    page.press(Keys.ENTER)
    page.until("document.getElementById('tensor-title').textContent", NAMES[1])
    page.until("document.activeElement.textContent", NAMES[1])
    assert page.value("document.querySelector('tr.chosen').textContent").startswith(NAMES[1])
    page.value("document.querySelector('#runs input').focus()")
    page.press(Keys.SPACE)
    page.until("document.querySelectorAll('#metrics .curve').length", 1)


@needs_driver
def test_steps_that_are_asked_for_are_drawn_from_every_reading_and_dragging_asks_too(page):
    from selenium.webdriver import ActionChains

    svg = page.driver.find_element("css selector", "#metrics svg")
    mouse = ActionChains(page.driver).move_to_element_with_offset(svg, -60, 0)
    mouse.click_and_hold().move_by_offset(60, 0).release().perform()
    first, last = asked(page)
    inside = svg.size["width"] - 66  # the axes
    middle, step = 1 + 799 * (svg.size["width"] / 2 - 58) / inside, 799 / inside
    assert (first, last) == (pytest.approx(middle - 60 * step, abs=2 * step), pytest.approx(middle, abs=2 * step))
    page.until(f"document.querySelector('#metrics svg').getAttribute('aria-label').includes('steps {first} to {last}.')")
    page.value("document.getElementById('all').click()")
    page.until("document.getElementById('from').value", "")


@needs_driver
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 800, 1200, 1600])
def test_nothing_is_wider_than_the_window_and_text_can_be_read_in_both_schemes(page, width, scheme):
    page.size(width)
    page.scheme(scheme)
    page.until(f"innerWidth === {width} && document.querySelector('#metrics svg').clientWidth <= {width}")
    assert page.value("document.documentElement.scrollWidth") <= width
    edges = page.value("[...document.querySelectorAll('figure:not([hidden])')].map(one => one.getBoundingClientRect().right)")
    assert max(edges) <= width
    contrast = """(() => {
        const linear = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        const light = text => {
            const [red, green, blue] = text.match(/[\\d.]+/g).slice(0, 3).map(value => linear(value / 255));
            return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        };
        const back = light(getComputedStyle(document.body).backgroundColor);
        const ratio = front => (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
        const least = (selector, kind) => Math.min(
            ...[...document.querySelectorAll(selector)].map(node => ratio(light(getComputedStyle(node)[kind]))));
        return [least("body, .quiet, .good, .bad, .warn, figcaption, #now li span", "color"), least(".curve", "stroke"), back];
    })()"""
    texts, curves, back = page.value(contrast)
    assert texts >= 4.5
    assert curves >= 3
    assert (back > 0.5) == (scheme == "light")


@needs_driver
def test_new_readings_appear_and_a_connection_that_was_lost_comes_back_with_what_was_missed(browser, tmp_path):
    write(tmp_path, range(1, 11))
    with served(tmp_path) as (server, port):
        browser.open(port)
        browser.until(f"{TEXT}.includes('step 10,')")
        write(tmp_path, [11])
        browser.until(f"{TEXT}.includes('step 11,')")
        assert browser.value("document.title") == "mine"
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)
    connection = "document.getElementById('connection')"
    browser.until(f"{connection}.className", "bad")
    lost = r"Connection lost; trying again\. This page shows what was known at \d\d:\d\d:\d\d\."
    assert re.fullmatch(lost, browser.value(f"{connection}.textContent"))
    write(tmp_path, [12])
    with served("--port", port, tmp_path):
        browser.until(f"{connection}.textContent", "connected")
        browser.until(f"{TEXT}.includes('step 12,')")
        browser.until("document.querySelector('#metrics svg').getAttribute('aria-label').includes('steps 1 to 12')")
