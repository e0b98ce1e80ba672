"""The server of ``equipoise watch --web``: what it serves, and to whom."""

import http.client
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import pytest

from equipoise.watch._overview import BUCKETS
from tests.watch.serving import events, get, served, settled, shown, write


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


def test_a_server_that_fails_to_read_ends_with_the_error_rather_than_look_healthy(folders):
    broken = "class Broken(Run):\n    def read(self):\n        raise RuntimeError('broken')\n"
    code = f"import sys\nfrom equipoise.watch import Run, serve\n{broken}\nserve([Broken(sys.argv[1])])"
    done = subprocess.run([sys.executable, "-c", code, str(folders[0])], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.endswith("RuntimeError: broken\n")
