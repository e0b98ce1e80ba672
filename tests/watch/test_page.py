"""The page of ``equipoise watch --web``, as a browser shows it."""

import re
import signal

import pytest

from equipoise.monitor import JsonLines
from equipoise.monitor._recording.run_file import RunInfo
from equipoise.watch._naming import COLUMNS
from tests.monitor.samples import Action, reading, tensor, verdict
from tests.watch.serving import EVIL, NAMES, needs_driver, served, write

pytestmark = needs_driver


def asked(page):
    """The steps that are shown."""
    return tuple(int(page.value(f"document.getElementById('{name}').value")) for name in ("from", "to"))


TEXT = "document.body.textContent"
TITLES = "[...document.querySelectorAll('figure:not([hidden]) h3')].map(title => title.textContent)"


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


def test_text_of_a_run_is_text_in_the_page(page):
    assert EVIL in page.value("document.getElementById('runs').textContent")
    assert EVIL in page.value("document.getElementById('now').textContent")
    assert EVIL in page.value("document.getElementById('log-of-events').textContent")
    assert NAMES[2] in page.value("document.getElementById('table').textContent")
    assert page.value("document.querySelectorAll('img').length") == 0
    assert page.value("document.querySelectorAll('script').length") == 1
    assert page.value("document.title") == "2 runs"


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


def test_a_page_that_finds_another_server_with_fewer_runs_shows_those_alone(browser, folders):
    with served(*folders) as (server, port):
        browser.open(port)
        browser.until("document.querySelectorAll('#runs li').length", 2)
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)
    with served("--port", port, folders[0]):
        browser.until("document.querySelectorAll('#runs li').length", 1)


def test_more_pages_than_a_browser_has_connections_can_be_open_if_only_some_are_seen(browser, port):
    first = browser.driver.current_window_handle
    for _ in range(7):
        browser.driver.switch_to.new_window("tab")
        browser.driver.get(f"http://127.0.0.1:{port}/")
        browser.until("document.getElementById('connection').textContent", "connected")
        # A browser without a window shows all of its tabs at once, so that the page is told otherwise.
        browser.value("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
        browser.value("document.dispatchEvent(new Event('visibilitychange'))")
    browser.value("delete document.hidden")
    browser.value("document.getElementById('connection').textContent = ''")
    browser.value("document.dispatchEvent(new Event('visibilitychange'))")
    browser.until("document.getElementById('connection').textContent", "connected")
    for handle in set(browser.driver.window_handles) - {first}:
        browser.driver.switch_to.window(handle)
        browser.driver.close()
    browser.driver.switch_to.window(first)


def test_a_page_says_when_the_server_does_not_answer_and_when_it_does_again(browser, tmp_path):
    write(tmp_path, range(1, 11))
    with served(tmp_path) as (server, port):
        browser.open(port)
        server.send_signal(signal.SIGSTOP)
        try:
            browser.until("document.getElementById('connection').textContent.startsWith('The server does not answer. ')")
        finally:
            server.send_signal(signal.SIGCONT)
        browser.until("document.getElementById('connection').textContent", "connected")


def test_a_page_says_which_lines_are_not_shown_and_that_a_run_cannot_be_read(browser, tmp_path):
    write(tmp_path, [1, 2])
    with (tmp_path / "readings.jsonl").open("a") as file:
        file.write('{"kind": "reading", "step": "</script><b>"}\n' * 7)
    write(tmp_path, [3])
    now = "document.getElementById('now').textContent"
    with served(tmp_path) as (_, port):
        browser.open(port)
        browser.until(f"{TEXT}.includes('step 3,')")
        assert "7 lines not shown: line 4: step must be a whole number from 0 to " in browser.value(now)
        assert browser.value(now).endswith('</script><b>"; and 2 more')
        (tmp_path / "readings.jsonl").rename(tmp_path / "elsewhere")
        gone = f"not followed: there is no run: {tmp_path}/readings.jsonl cannot be read"
        browser.until(f"{now}.includes('{gone}')")
        assert "not followed" in browser.value("document.getElementById('runs').textContent")
        (tmp_path / "elsewhere").rename(tmp_path / "readings.jsonl")
        browser.until(f"!{now}.includes('not followed')")


def test_a_run_that_went_back_is_one_line_and_its_abandoned_attempts_are_faint(browser, tmp_path):
    for steps, spoilt in ((range(1, 31), 25), (range(21, 41), 36), (range(31, 61), 99)):
        sink = JsonLines(tmp_path)
        sink.open(RunInfo("mine", 0.0, {}, NAMES[:1], ((2,),), (0,)))
        for step in steps:
            sink.write(reading(step, 90.0 if step > spoilt else 1 / step, names=NAMES[:1]))
        sink.write(verdict(steps[-1], since=steps[-1]))
        sink.close()
    lines = (
        "[...document.querySelectorAll('#metrics .curve')].map(line => [line.matches('.abandoned'), line.getAttribute('d')])"
    )
    with served(tmp_path) as (_, port):
        browser.size(1200)
        browser.open(port)
        browser.until(f"{TEXT}.includes('step 60,')")
        for attempts in ([False, True, True], [False, True, True]):
            drawn = browser.value(lines)
            assert [faint for faint, _ in drawn] == attempts
            for _, path in drawn:
                places = [float(place) for place in re.findall(r"[ML]([\d.]+) ", path)]
                assert places == sorted(set(places))
                assert path.count("M") == 1
            browser.value("document.querySelector('#metrics svg').focus()")
            browser.press("+")
            browser.until("document.getElementById('from').value !== ''")
            browser.until("document.querySelectorAll('#metrics .curve.abandoned').length", 2)
        ticks = "[...document.querySelectorAll('#metrics text[text-anchor=end]')].map(text => parseFloat(text.textContent))"
        assert max(browser.value(ticks)) < 2  # what was abandoned is cut
        assert browser.value("document.querySelector('#metrics figcaption').textContent").endswith("Cut: up to 90.")
        steps = "[...document.querySelectorAll('#log-of-events li')].map(item => +item.textContent.match(/at step (\\d+)/)[1])"
        assert browser.value(steps) == [60, 40, 30]
        assert browser.value("document.querySelectorAll('#now li').length") == 1


def test_runs_of_one_name_are_told_apart_everywhere(browser, tmp_path):
    for folder in ("wide/1", "deep/1", "deep/2"):
        write(tmp_path / folder, range(1, 11), trouble=True)
    with served(*(tmp_path / folder for folder in ("wide/1", "deep/1", "deep/2"))) as (_, port):
        browser.open(port)
        browser.until("document.querySelectorAll('#now li').length", 3)
        labels = ["mine (wide/1)", "mine (deep/1)", "mine (2)"]
        assert browser.value("[...document.querySelectorAll('#run option')].map(option => option.textContent)") == labels
        rows = browser.value("[...document.querySelectorAll('#runs li')].map(item => item.textContent)")
        for row, folder in zip(rows, ("wide/1", "deep/1", "2"), strict=True):
            assert re.match(rf"mine folder {folder}; started 1 Jan 1970, \d\d:00; step 10, ", row)
        for where, text in (("#now", "spans"), ("#log-of-events", "spans"), ("#table-title", "one")):
            found = browser.value(f"document.querySelector('{where}').textContent")
            assert [label in found for label in labels] == [True, text == "spans", text == "spans"]
        browser.value("document.querySelector('#metrics svg').focus()")
        from selenium.webdriver import Keys

        browser.press(Keys.ARROW_RIGHT)
        caption = browser.until("document.querySelector('#metrics figcaption').textContent")
        assert all(f"{label} " in caption for label in labels)


def test_every_column_says_what_it_is_and_in_which_unit(page):
    headings = page.value("[...document.querySelectorAll('#table thead th')].map(cell => [cell.textContent, cell.title])")
    assert headings == [["tensor", "name of the parameter in the model"], *map(list, COLUMNS.values())]
    meanings = page.value("[...document.querySelectorAll('dl > *')].map(item => item.textContent)")
    assert meanings == [text for column in COLUMNS.values() for text in column]


def test_of_twenty_thousand_tensors_and_a_thousand_metrics_a_page_has_some_and_finds_the_others(browser, tmp_path):
    names = tuple(f"block.{number // 10}.layer.{number % 10}.weight" for number in range(20_000))
    sink = JsonLines(tmp_path)
    sink.open(RunInfo("mine", 0.0, {}, names, ((2,),) * 20_000, (0,) * 20_000))
    metrics = {f"metric {number}": float(number) for number in range(1, 1001)}
    sink.write(reading(1, names=names, metrics=metrics))
    sink.write(verdict(1, where=names[19_000:]))
    sink.close()
    count, rows = "document.getElementById('tensor-count').textContent", "[...document.querySelectorAll('#table tbody th')]"

    def typed(box, text):
        browser.value(f"document.getElementById('{box}').focus()")
        browser.press(text)

    with served(tmp_path) as (_, port):
        browser.open(port)
        browser.complaints()
        assert browser.until(count) == "1 to 50 of 20,000"
        assert browser.value(f"{rows}.map(row => row.textContent)") == list(names[19_000:19_050])  # what a verdict names
        assert browser.value("document.getElementsByTagName('*').length") < 3000
        assert (
            "in block.1900.layer.0.weight, block.1900.layer.1.weight, block.1900.layer.2.weight and 997 more"
            in browser.value("document.getElementById('now').textContent")
        )
        browser.value("document.getElementById('after').click()")
        browser.until(count, "51 to 100 of 20,000")
        typed("find-tensors", "BLOCK.77.layer.3")
        browser.until(count, "1 to 1 of 1; 20,000 in all")
        browser.value(f"{rows}[0].querySelector('button').click()")
        browser.until("document.getElementById('tensor-title').textContent", "block.77.layer.3.weight")
        browser.until("document.querySelectorAll('#tensor-charts figure:not([hidden])').length")
        assert browser.value("document.querySelectorAll('#metrics figure').length") == 24
        typed("find-metrics", "c 77")
        titles = ["metric 77", *(f"metric 77{digit}" for digit in range(10))]
        browser.until("[...document.querySelectorAll('#metrics h3')].map(title => title.textContent)", titles)
        assert browser.complaints() == []


HOSTILE = (
    "<img src=x onerror=\"document.title = 'run'\">",
    "</script><script>document.title = 'run'</script>",
    "{{ 7 * 7 }}{% raw %}${document.title = 'run'}",
    "javascript:document.title = 'run'",
    "NUL \0 and \0",
    "half a pair \ud800",
    "turned \u202exe.gnp\u2066",
    "line\nbreak\u2028\x1b[31m\u200b",
    f"{'n' * 150}MIDDLE{'m' * 143}",
)


def test_hostile_names_are_text_that_harms_nothing_and_can_be_chosen(browser, tmp_path):
    for number, name in enumerate(HOSTILE):
        sink = JsonLines(tmp_path / str(number))
        sink.open(RunInfo(name, 0.0, {}, HOSTILE, ((2,),) * len(HOSTILE), (0,) * len(HOSTILE)))
        for step in range(1, 4):
            tensors = {one: tensor(0.1 * (1 + index)) for index, one in enumerate(HOSTILE)}
            sink.write(reading(step, tensors=tensors, metrics=dict.fromkeys(HOSTILE, 0.5)))
        sink.write(verdict(3, name, where=HOSTILE, message=name, advice=name))
        sink.write(Action(name, 3, (), name))
        sink.close()
    with served(*(tmp_path / str(number) for number in range(len(HOSTILE)))) as (_, port):
        browser.open(port)
        browser.until("document.querySelectorAll('#now li').length", len(HOSTILE))
        browser.complaints()
        for index, name in enumerate(HOSTILE):
            row = f"document.querySelectorAll('#table tbody button')[{index}]"
            whole = re.sub(r"[\0\n\x1b\ud800\u202e\u2066\u2028\u200b]", "\ufffd", name)
            assert browser.value(f"{row}.title") == whole
            short = browser.value(f"{row}.textContent")
            assert len(short) <= 64
            begin, _, end = short.partition("…")
            assert short == whole or (end and whole.startswith(begin) and whole.endswith(end))
            browser.value(f"{row}.click()")
            browser.until("document.getElementById('tensor-title').title", whole)
            newest = f"{0.1 * (1 + index):.4g}"
            label = "[...document.querySelectorAll('#tensor-charts figure:not([hidden]) svg')][0]?.getAttribute('aria-label')"
            browser.until(f"{label}?.includes(' {newest}. ') || {label}?.includes(' {newest}; ')")
        browser.value("document.querySelector('#metrics svg').focus()")
        browser.press("+")
        browser.until("document.getElementById('from').value !== ''")
        text = browser.value(TEXT)
        assert not set("\0\x1b\u202e\u2066\u2028\u200b") & set(text)
        assert browser.value("document.title") == f"{len(HOSTILE)} runs"
        assert browser.value("document.querySelectorAll('img, a, iframe').length") == 0
        assert browser.value("document.querySelectorAll('script').length") == 1
        for width in (1400, 800, 400):
            browser.size(width)
            browser.until(f"innerWidth === {width} && document.documentElement.scrollWidth <= {width}")
        assert browser.complaints() == []
