"""The map of the stability region: what it says is what the theory says, in both renderings."""

import math

import numpy as np
import pytest
from matplotlib import image

from equipoise.check import _map as figures
from equipoise.check._map import RegionPoint, region_figure, write_region
from equipoise.errors import MissingExtraError, UnusableInputError
from equipoise.theory import Growth, continuous_margin, growth_rate, margin, max_update

ADAM = RegionPoint("adam", 0.9, 0.999, 0.5)
QUARTER = RegionPoint("quarter", 0.9, 0.999, 0.25)
OUTSIDE = RegionPoint("outside", 0.95, 0.7, 0.5)


def traces(*points):
    return {trace.name: trace for trace in region_figure(points).data}


def beta(decades):
    return 1 - 10.0 ** -np.asarray(decades, dtype=float)


@pytest.mark.parametrize("exponent", [0.5, 0.25, 0.1])
def test_the_boundary_is_where_the_margin_is_0(exponent):
    shown = traces(RegionPoint("here", 0.9, 0.999, exponent))
    line = shown[f"boundary, exponent {exponent:g}"]
    near = slice(20, 300)  # left of it beta2 is lost beside 1, right of it the line may leave the map
    assert margin(beta(line.x[near]), beta(line.y[near]), exponent) == pytest.approx(0, abs=1e-9)
    dotted = shown["the same in continuous time"]
    assert continuous_margin(beta(dotted.x[near]), beta(dotted.y[near]), exponent) == pytest.approx(0, abs=1e-9)


def test_points_lie_at_the_logarithm_of_their_memories():
    mark = traces(ADAM)["1: adam"]
    assert (mark.x[0], mark.y[0]) == pytest.approx((1, 3), abs=1e-12)
    figure = region_figure([ADAM])
    assert dict(zip(figure.layout.xaxis.ticktext, figure.layout.xaxis.tickvals, strict=True))["0.99"] == pytest.approx(2)


def test_hovering_shows_margin_and_largest_update():
    assert f"margin {margin(0.9, 0.999):+.4f} nats per step" in traces(ADAM)["1: adam"].hovertext
    assert f"largest update {max_update(0.9, 0.999):.4g}" in traces(ADAM)["1: adam"].hovertext
    assert "without limit" in traces(OUTSIDE)["1: outside (growth: fast)"].hovertext


def test_markup_in_a_name_is_shown_and_not_followed():
    shown = traces(RegionPoint("<a href='x'>x</a>", 0.9, 0.999, 0.5))["1: &lt;a href=&#x27;x&#x27;&gt;x&lt;/a&gt;"]
    assert "<a" not in shown.hovertext
    assert "&lt;a href" in shown.hovertext


def test_points_with_the_same_betas_share_a_mark_that_is_stable_only_if_all_are():
    shown = traces(ADAM, QUARTER, OUTSIDE, RegionPoint("eighth", 0.95, 0.7, 0.125))
    assert list(shown)[-2:] == ["1: adam, quarter", "2: outside, eighth (growth: fast)"]
    assert shown["1: adam, quarter"].marker.symbol == "circle"
    assert shown["2: outside, eighth (growth: fast)"].marker.symbol == "square"


def test_shaded_is_what_is_stable_for_every_exponent_shown():
    shown = traces(ADAM, QUARTER)
    shade, strict = shown["stable"], shown["boundary, exponent 0.5"]
    assert set(strict.y[20:300]) <= set(shade.y)
    assert not set(shown["boundary, exponent 0.25"].y[20:300]) & set(shade.y)


def test_outside_the_areas_say_how_fast_updates_can_grow():
    shown = traces(ADAM)
    assert list(shown)[:3] == ["fast growth", "moderate growth: tenfold in 23 steps or more", "stable"]
    line = slice(20, 300)
    moderate = shown["moderate growth: tenfold in 23 steps or more"]
    assert growth_rate(beta(moderate.x[line]), beta(moderate.y[line])) == pytest.approx(0.1, abs=1e-9)


def test_without_a_boundary_everything_is_shaded_and_above_half_nothing():
    everything = traces(RegionPoint("sgd", 0.9, 0.99, 0.0))
    assert list(everything) == ["stable", "1: sgd"]
    assert len(set(everything["stable"].x)) == len(set(everything["stable"].y)) == 2
    assert list(traces(RegionPoint("steep", 0.9, 0.99, 0.75))) == ["1: steep (growth: with the gradients)"]


def test_the_map_reaches_as_far_as_its_points():
    far = RegionPoint("far", 0.0, 1 - 1e-7, 0.5)
    figure = region_figure([far])
    assert figure.layout.yaxis.range[1] > 7 > figure.layout.xaxis.range[1]
    assert figure.layout.xaxis.range[0] < 0
    assert figure.layout.yaxis.ticktext[-1] == "0.9999999"
    assert all(math.isfinite(value) for trace in figure.data for value in [*trace.x, *trace.y])


def test_html_is_one_file_that_needs_no_network_and_shows_names_as_text(tmp_path):
    path = tmp_path / "map.html"
    write_region(path, [RegionPoint("<script>alert(1)</script>", 0.9, 0.999, 0.5), OUTSIDE])
    page = path.read_text(encoding="utf-8")
    body = page[page.index("<body>") :]
    assert "<script src" not in page
    assert "<link" not in page
    assert "alert(1)</script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body
    assert "Plotly.newPlot" in body
    assert len(body) > 1_000_000  # plotly.js itself
    assert "tenfold every 18 steps" in body
    assert [entry.name for entry in tmp_path.iterdir()] == ["map.html"]


@pytest.mark.parametrize("label", ["plain", "$x$ and $", "_hidden", "名前", "line\nbreak", "a name " * 20])
def test_png_is_drawn_whatever_the_name_of_a_point(tmp_path, label):
    write_region(tmp_path / "map.PNG", [RegionPoint(label, 0.9, 0.999, 0.5)])
    pixels = image.imread(tmp_path / "map.PNG", format="png")
    height, width, _ = pixels.shape
    assert (width, height) == (960, 840)
    # The edges stay white: nothing was cut.
    assert pixels[:, [0, -1], :3].min() == pixels[[0, -1], :, :3].min() == 1


def test_png_shows_the_point_in_the_colour_of_its_verdict(tmp_path):
    mild = RegionPoint("mild", 0.9, 0.8, 0.5)
    for point, growth in [(ADAM, Growth.NONE), (mild, Growth.MODERATE), (OUTSIDE, Growth.FAST)]:
        colour = figures.MARKS[growth]
        write_region(tmp_path / "map.png", [point])
        pixels = np.round(image.imread(tmp_path / "map.png")[:, :, :3] * 255).astype(int)
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == wanted).all(axis=2).sum() > 300


def test_another_suffix_is_refused_before_anything_is_drawn(tmp_path):
    with pytest.raises(UnusableInputError, match=r"written as \.html or \.png, not as \.pdf"):
        write_region(tmp_path / "map.pdf", [ADAM])
    with pytest.raises(UnusableInputError, match="a file without suffix"):
        write_region(tmp_path / "map", [ADAM])


def test_a_place_that_cannot_be_written_to_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(UnusableInputError, match=r"map\.png cannot be written: No such file"):
        write_region(tmp_path / "none" / "map.png", [ADAM])
    (tmp_path / "map.png").mkdir()
    with pytest.raises(UnusableInputError, match="cannot be written: Is a directory"):
        write_region(tmp_path / "map.png", [ADAM])
    assert [entry.name for entry in tmp_path.iterdir()] == ["map.png"]


def test_a_missing_extra_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"drawing the region needs .* pip install 'equipoise\[plot\]'"):
        write_region(tmp_path / "map.png", [ADAM])
