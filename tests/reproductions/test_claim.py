"""The frame of the reproductions: intervals, verdicts, what a conclusion leaves behind."""

import json
import math
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from scipy import stats

from reproductions.claim import Claim, Interval, Scale, Verdict, all_of, judge, mean_interval, parse_options


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        (Interval(0.5, 0.1, 0.9), Verdict.REPRODUCED),
        (Interval(1.5, 1.1, 1.9), Verdict.NOT_REPRODUCED),
        (Interval(-0.5, -0.9, -0.1), Verdict.NOT_REPRODUCED),
        (Interval(0.9, 0.7, 1.1), Verdict.INCONCLUSIVE),
        (Interval(0.5, -0.1, 1.1), Verdict.INCONCLUSIVE),
        (Interval(0.5, -math.inf, math.inf), Verdict.INCONCLUSIVE),
        (Interval(math.nan, math.nan, math.nan), Verdict.INCONCLUSIVE),
    ],
)
def test_an_interval_inside_reproduces_one_outside_does_not_and_one_across_leaves_it_open(interval, verdict):
    assert judge(interval, 0.0, 1.0) is verdict


def test_one_part_that_fails_fails_the_claim_and_one_that_is_open_leaves_it_open():
    yes, no, perhaps = Verdict.REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.INCONCLUSIVE
    assert all_of([yes, yes]) is yes
    assert all_of([yes, perhaps]) is perhaps
    assert all_of([perhaps, no, yes]) is no


def test_the_interval_of_a_mean_is_that_of_a_one_sample_t_test():
    values = [1.0, 2.0, 4.0, 4.5]
    found, expected = mean_interval(values), stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert mean_interval([3.0]) == Interval(3.0, -math.inf, math.inf)


def test_a_conclusion_prints_claim_measurement_and_verdict_and_leaves_a_figure_and_a_record(tmp_path, capsys):
    claim = Claim("z", "The sky is blue.", "anywhere", "blue: reproduced")
    options = parse_options(argv=["--quick", "--out", str(tmp_path / "new")])
    claim.conclude(options, "hue 0.61 [0.58, 0.64]", Verdict.REPRODUCED, Figure())
    printed = capsys.readouterr().out
    assert all(part in printed for part in ("The sky is blue.", "hue 0.61 [0.58, 0.64]", "verdict:    reproduced"))
    assert (tmp_path / "new" / "z.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "new" / "z.json").read_text())
    assert (record["verdict"], record["scale"]) == ("reproduced", "quick")


def test_the_command_line_chooses_scale_and_device():
    assert parse_options(argv=[]).scale is Scale.DEFAULT
    given = parse_options(argv=["--scale", "full", "--device", "cuda", "--out", "there"])
    assert (given.scale, given.device, given.out) == (Scale.FULL, torch.device("cuda"), Path("there"))
    assert (given.choose(1, 2, 3), given.choose(1, 2)) == (3, 2)
