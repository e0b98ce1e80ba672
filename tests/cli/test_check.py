"""``equipoise check`` as scripts and people meet it: what is printed where, and the exit codes."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from equipoise.theory import assess


def test_stable_betas_exit_with_0_and_the_verdict_first(run):
    code, out, err = run("check", "--betas", 0.9, 0.999)
    assert (code, err) == (0, "")
    assert out.startswith("STABLE: betas (0.9, 0.999), exponent 0.5\n")
    assert "no sequence of gradients can make an update larger than 7.27" in out
    assert re.search(r"margin +\+0\.1049 nats per step", out)
    assert re.search(r"worst update +7\.27 x learning rate", out)


def test_unstable_betas_exit_with_1_and_say_how_fast_updates_grow(run):
    code, out, err = run("check", "--betas", 0.95, 0.7)
    assert (code, err) == (1, "")
    assert out.startswith("UNSTABLE, fast growth: betas (0.95, 0.7), exponent 0.5\n")
    assert "by up to 13.5% per step, tenfold every 18 steps" in out.replace("\n ", "")
    assert "beta1 <= 0.82, beta2 >= 0.9119, exponent <= 0.129" in out


def test_what_is_outside_is_graded_and_says_what_was_seen_and_what_to_do(run):
    said = [" ".join(run("check", "--betas", 0.9, beta2)[1].split()) for beta2 in (0.7, 0.2)]
    assert [text.partition(":")[0] for text in said] == ["UNSTABLE, moderate growth", "UNSTABLE, fast growth"]
    assert "A run that goes well need not be stopped. Before the next one, change beta1, beta2 or the exponent." in said[0]
    assert "Do not train like this: in 16 of 45 comparisons" in said[1]


@pytest.mark.parametrize(
    "values", [(0.95, 0.7, 0.5), (0.99, 0.9, 0.4), (0.999, 0.99, 0.25), (0.9, 0.0, 0.5), (0.9999, 0.999, 0.5)]
)
def test_each_nearest_stable_value_that_is_printed_is_stable(run, values):
    beta1, beta2, exponent = values
    _, out, _ = run("check", "--betas", beta1, beta2, "--exponent", exponent)
    printed = dict(re.findall(r"(beta1 <=|beta2 >=|exponent <=) ([0-9.e-]+)", out))
    assert len(printed) == 3
    for pair, p in [
        ((printed["beta1 <="], beta2), exponent),
        ((beta1, printed["beta2 >="]), exponent),
        ((beta1, beta2), printed["exponent <="]),
    ]:
        assert run("check", "--betas", *pair, "--exponent", p)[0] == 0


def test_an_exponent_above_half_exits_with_1(run):
    code, out, _ = run("check", "--betas", 0.9, 0.999, "--exponent", 0.75)
    assert code == 1
    assert out.startswith("UNSTABLE FOR VANISHING GRADIENTS: ")
    assert re.search(r"stable, each alone +exponent <= 0\.5\n", out)


def test_stages_name_the_one_that_decides(run):
    code, out, _ = run("check", "--betas", 0.9, 0.999, "--stages", 3)
    assert code == 0
    assert out.startswith("STABLE: betas (0.9, 0.999), exponent 0.5, 3 stages\n")
    assert re.search(r"deciding stage +3 of 3", out)


def test_the_human_output_fits_80_columns_and_has_no_colour_outside_of_a_terminal(run):
    for arguments in [(0.9, 0.999), (0.95, 0.7), (0.999, 0.5), (0.0, 0.0)]:
        _, out, _ = run("check", "--betas", *arguments, "--exponent", 0.25, "--stages", 2)
        assert max(map(len, out.splitlines())) <= 80
        assert "\x1b" not in out


def test_json_holds_every_number_of_the_assessment(run):
    code, out, err = run("check", "--betas", 0.9, 0.999, "--exponent", 0.25, "--json")
    found = assess((0.9, 0.999), 0.25)
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "verdict": "stable",
        "results": [
            {
                "where": "command line",
                "verdict": "stable",
                "stable": True,
                "betas": [[0.9, 0.999]],
                "exponents": [0.25],
                "deciding_stage": 1,
                "margin": found.margin,
                "continuous_margin": found.continuous_margin,
                "growth_rate": 0.0,
                "max_update": found.max_update,
                "scale_degree": 0.5,
                "nearest": {"beta1": 0.9, "beta2": 0.999, "exponent": 0.25},
                "sentence": found.sentence,
                "growth": "none",
                "advice": "",
            }
        ],
    }


def test_json_names_an_infinite_number_and_says_null_where_there_is_none(run):
    code, out, _ = run("check", "--betas", 0.9, 0.0, "--exponent", 0.75, "--json")
    (result,) = json.loads(out, parse_constant=pytest.fail)["results"]
    assert code == 1
    names = ("margin", "continuous_margin", "growth_rate", "max_update")
    assert [result[name] for name in names] == ["-inf", "-inf", "inf", "inf"]
    assert result["nearest"]["beta1"] is None


def test_groups_with_the_same_values_are_merged_and_the_worst_decides(run, tmp_path):
    parameters = [{"params": [torch.nn.Parameter(torch.ones(1))]} for _ in range(3)]
    parameters[1]["betas"] = (0.95, 0.7)
    torch.save({"optimizer": torch.optim.Adam(parameters).state_dict()}, tmp_path / "last.pt")
    code, out, _ = run("check", tmp_path / "last.pt")
    stable, unstable = out.split("\n\n")
    assert code == 1
    assert re.search(r"where +optimizer\.param_groups\[0\]\n +optimizer\.param_groups\[2\]\n", stable)
    assert re.search(r"where +optimizer\.param_groups\[1\]\n", unstable)
    code, out, _ = run("check", tmp_path / "last.pt", "--json")
    assert json.loads(out)["verdict"] == "unstable"
    assert [result["verdict"] for result in json.loads(out)["results"]] == ["stable", "unstable", "stable"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either a FILE or --betas BETA1 BETA2"),
        (("x.json", "--betas", 0.9, 0.9), "give either a FILE or --betas BETA1 BETA2"),
        (("x.json", "--exponent", 0.25), "--exponent and --stages go with --betas"),
        (("x.json", "--stages", 2), "--exponent and --stages go with --betas"),
        (("--betas", 0.9), "argument --betas: expected 2 arguments"),
        (("--betas", "a", 0.9), "argument --betas: invalid float value: 'a'"),
        (("--betas", 0.9, 0.9, "--jsn"), "unrecognized arguments: --jsn"),
    ],
)
def test_wrong_usage_exits_with_2_and_a_usage_line(run, arguments, message):
    code, out, err = run("check", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: equipoise ")
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--betas", 0.9, 1.5), "error: betas = [0.9, 1.5] is not accepted: betas must be one pair"),
        (("--betas", "nan", 0.9), "error: betas = [nan, 0.9] is not accepted"),
        (("--betas", 0.9, 0.9, "--exponent", "inf"), "error: exponent = inf is not accepted: exponent must be a finite number"),
        (("--betas", 0.9, 0.9, "--stages", 0), "error: stages = 0 is not accepted"),
        (("--betas", 0.9, 0.9, "--stages", 10**9), "error: stages = 1000000000 is not accepted: stages must be a whole number"),
        (("--betas", 0.9, 0.9, "--plot", "map.pdf"), "error: map.pdf: a map is written as .html or .png"),
        (("none.json",), "error: none.json cannot be read: No such file or directory"),
    ],
)
def test_unusable_input_exits_with_2_and_one_line(run, arguments, message):
    code, out, err = run("check", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


@pytest.mark.parametrize("suffix", ["html", "png"])
def test_plot_draws_every_result_and_says_where(run, tmp_path, suffix):
    path = tmp_path / f"map.{suffix}"
    code, out, err = run("check", "--betas", 0.95, 0.7, "--plot", path)
    assert code == 1
    assert out.startswith("UNSTABLE")
    assert err == f"drawn: {path}\n"
    assert path.stat().st_size > 10_000


def test_plot_shows_shared_values_once_and_the_stage_that_decides(run, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps([{"betas": [0.9, 0.99], "k": 2}] * 3))
    assert run("check", tmp_path / "c.json", "--plot", tmp_path / "map.html")[0] == 0
    assert (tmp_path / "map.html").read_text().count("<b>[0].betas and 2 more, stage 2 of 2</b>") == 1


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "equipoise", *arguments], capture_output=True, env={**os.environ, **environment}, check=False
    )


def test_the_installed_command_passes_its_exit_code_on(tmp_path):
    (tmp_path / "ds.json").write_text('{"optimizer": {"params": {"betas": [0.95, 0.7]}}}')
    done = command("check", str(tmp_path / "ds.json"))
    assert (done.returncode, done.stderr) == (1, b"")
    assert re.search(rb"where +optimizer\.params\.betas\n", done.stdout)


def test_a_name_that_the_terminal_cannot_show_is_no_failure(tmp_path):
    (tmp_path / "c.json").write_text('{"名": {"betas": [0.9, 0.999]}}', encoding="utf-8")
    done = command("check", str(tmp_path / "c.json"), PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert rb"\u540d.betas" in done.stdout


def test_an_option_that_is_given_twice_is_refused(run):
    code, out, err = run("check", "--betas", 0.9, 0.999, "--betas", 0.9, 0.99)
    assert (code, out) == (2, "")
    assert err.endswith("error: argument --betas: given twice\n")


@pytest.mark.skipif(os.name != "posix", reason="closes a pipe as Unix does")
@pytest.mark.parametrize("recipes", [1, 3000])  # less than a pipe holds, and more
def test_a_reader_that_has_enough_ends_the_command_in_silence(tmp_path, recipes):
    (tmp_path / "c.json").write_text(json.dumps([{"betas": [0.9, 0.9 + place / 1e5]} for place in range(recipes)]))
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "equipoise", "check", tmp_path / "c.json"],
            stdout=output,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_version_and_help(run):
    assert run("--version")[:2] == (0, "equipoise 0.1.0\n")
    assert "check" in run("--help")[1]
    code, out, _ = run("check", "--help")
    assert code == 0
    assert "--betas BETA1 BETA2" in out
    assert run("bogus")[0] == 2


def test_the_readme_shows_what_check_prints(run):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    _, out, _ = run("check", "--betas", 0.95, 0.7)
    assert textwrap.indent(out, "    ") in readme
