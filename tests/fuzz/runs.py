"""Files of runs that are nearly right, and what a disk, another program or an attacker makes of them."""

import json
from copy import deepcopy

from hypothesis import strategies as st

from equipoise.monitor import GroupReading, Reading, TensorReading, Verdict
from equipoise.monitor._recording.run_file import RunInfo, event_line, header_line, reading_line
from tests.monitor.samples import Action

EVIL = [
    "\x1b]0;title\x07\x1b[31m",
    "\n\r\x00\x9b",
    "\u202egnp.exe\u2066",
    "\ud800",
    "</script><script>",
    "[bold]x[/bold]",
    "{{ 7 * 7 }}{0}{missing:>9999999999}",
    "x" * 300,
    "\u0300" * 50,
    "ש" * 9,
    "",
]
names = st.sampled_from(["loss", "layer.weight", "layer.bias", "head"] * 8 + EVIL)
usual = [1.0, 1e-3, 0.25, 30.0]
odd = [0.0, 1e-320, 1e300, 1.7976931348623157e308, float("inf"), float("nan")]
positive = st.sampled_from([*usual * 6, *odd])
shares = st.sampled_from([0.0, 0.25, 1.0, 1e-300])
plain = st.sampled_from([*usual * 6, *odd, -1e-3, -float("inf")])
betas = st.sampled_from([(0.9, 0.999)] * 8 + [(0.0, 0.0), (1.0, 0.5), (-1.0, 2.0), (0.9, float("nan")), (0.999, 0.001)])
exponents = st.sampled_from([0.5] * 6 + [0.0, 0.25, -1.0, 3.0, 1e300, float("nan")])
groups = st.builds(
    lambda stages, lr, **values: GroupReading(lr, tuple(p for p, _ in stages), tuple(pair for _, pair in stages), **values),
    stages=st.lists(st.tuples(exponents, betas), min_size=1, max_size=2),
    lr=positive,
    margin=plain,
    margin_ahead=plain,
    gradient_spread=positive,
    update_spread=positive,
)
tensor_readings = st.builds(
    lambda values, zeros, nonfinite: TensorReading(*values[:6], zeros, nonfinite, *values[6:]),
    st.tuples(*[positive] * 8),
    shares,
    shares,
)
steps = st.sampled_from([*[20, 30] * 4, 0, 1, 1000, 2**53 - 1])
verdicts = st.builds(
    Verdict,
    *(names, st.sampled_from(["trouble", "warning"]), steps, steps),
    *(st.lists(names, max_size=3).map(tuple), shares, names, names),
)


seldom = st.integers(0, 9).map(lambda number: number == 9)


@st.composite
def lines(draw):
    """The lines of a run, as a monitor writes them."""
    found = []
    step = draw(steps)
    for _ in range(draw(st.integers(1, 2))):
        tensors = tuple(draw(st.lists(names, min_size=not draw(seldom), max_size=3, unique=True)))
        shape, several = draw(st.sampled_from([(), (2,), (2, 3), (0,)])), draw(st.integers(1, 2))
        group_of = tuple(place % several for place in range(len(tensors)))
        found.append(header_line(RunInfo(draw(names), 1.7e9, {"torch": "2.13.0"}, tensors, (shape,) * len(tensors), group_of)))
        for _ in range(draw(st.sampled_from([0, 1, 2, 3, 3]))):
            step = draw(steps) if draw(seldom) else min(step + 10, 2**53 - 1)
            measured = {name: draw(tensor_readings) for name in tensors if not draw(seldom)}
            some = tuple(draw(groups) for _ in range(several))
            metrics = draw(st.dictionaries(names, plain, max_size=2))
            found.append(reading_line(Reading(step, 1.8e9, True, metrics, some, measured), tensors))
        found += [event_line(verdict) for verdict in draw(st.lists(verdicts, max_size=1))]
        if draw(seldom):
            found.append(event_line(Action(draw(names), step, tuple(draw(st.lists(verdicts, max_size=1))), draw(names))))
    return found


STRANGE = [
    *(None, True, "x", "inf", "nan", "", -1, 0, 1e300, -1e-5, 2**53, 10**400, 0.5),
    *([], {}, [[]], {"a": []}, ["x"], [None], [1, "x"]),
    *EVIL[:4],
    "x" * 1001,
]


@st.composite
def damaged_line(draw, line):
    """A line in which something is of another kind, missing, or in another place."""
    value = json.loads(line)
    for _ in range(draw(st.integers(1, 2))):
        node = value
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 3)):
                node = node[key]
                continue
            how = draw(st.sampled_from(["value", "gone", "more"]))
            strange = deepcopy(draw(st.sampled_from(STRANGE)))
            if how == "gone":
                del node[key]
            elif how == "value":
                node[key] = strange
            elif isinstance(node, dict):
                node[draw(names)] = strange
            else:
                node.insert(key, strange)
            break
    return json.dumps(value)


RUBBISH = [
    b"",
    b"\n\n\n",
    b"null\n",
    b"[" * 100_000 + b"\n",
    b'{"kind":' * 2_000 + b"\n",
    b'{"kind": "reading", "step": ' + b"9" * 5_000 + b"}\n",
    b'{"kind": "reading", "step": NaN}\n',
    b'{"kind": "run", "format": 2}\n',
    b"\xff\xfe\x00\n",
    b"\xef\xbb\xbf{}\n",
    b"\x00" * 5_000,
    b"\r\r\n",
    b"{}\n" * 1_500,
]


@st.composite
def files(draw):
    """The bytes of a file of a run, damaged in one way, in several, or in none."""
    found = draw(lines())
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        place = draw(st.integers(0, len(found) - 1))
        if found[place].startswith("{"):
            found[place] = draw(damaged_line(found[place]))
    if draw(seldom):
        found = draw(st.permutations(found))
    content = "".join(f"{line}\n" for line in found).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        place = draw(st.integers(0, len(content)))
        match draw(st.sampled_from(["cut", "rubbish", "byte", "twice"])):
            case "cut":
                content = content[:place]
            case "rubbish":
                content = content[:place] + draw(st.sampled_from(RUBBISH)) + content[place:]
            case "byte":
                content = content[:place] + draw(st.binary(min_size=1, max_size=3)) + content[place + 1 :]
            case "twice":
                content += content[place:]
    return content
