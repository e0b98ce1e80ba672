"""What the scripts (a) to (e) compute before they measure."""

import numpy as np
import pytest

from equipoise import theory
from reproductions import a_region, b_curves, c_exponents, d_flow, e_norms
from reproductions.updates import Updates

SCRIPTS = (a_region, b_curves, c_exponents, d_flow, e_norms)


def test_every_script_has_its_letter_and_a_rule_for_all_three_verdicts():
    assert [script.CLAIM.letter for script in SCRIPTS] == list("abcde")
    for script in SCRIPTS:
        assert script.__name__.split(".")[-1].startswith(script.CLAIM.letter + "_")
        assert all(word in script.CLAIM.rule for word in ("reproduced", "not reproduced", "inconclusive"))


def test_a_level_curve_has_one_c_and_a_normal_is_orthogonal_to_it():
    level = [b_curves.level_point(beta1) for beta1 in (0.5, 0.7, 0.9)]
    assert theory.continuous_margin(*np.array(level).T) == pytest.approx(b_curves.LEVEL)
    start = b_curves.level_point(0.8)
    near, nearer = (np.array(b_curves.normal_point(start, b_curves.LEVEL - step)) for step in (1e-5, 0.0))
    tangent = np.array(b_curves.level_point(0.8 + 1e-6)) - start
    assert theory.continuous_margin(*near) == pytest.approx(b_curves.LEVEL - 1e-5)
    along = near - nearer
    assert abs(along @ tangent) < 1e-4 * np.linalg.norm(along) * np.linalg.norm(tangent)


@pytest.mark.parametrize(("betas", "exponent"), [((0.95, 0.7), 0.5), ((0.97, 0.7), 0.25)])
def test_the_rate_of_silence_is_that_of_the_theory_and_the_worst_case_is_the_whole_bound(betas, exponent):
    gradients = np.concatenate([theory.worst_case_gradients(*betas, exponent, 30), np.zeros(20)])
    found = Updates(betas, exponent, 30, abs(theory.stage_updates(gradients, betas, exponent)[0]), np.ones(50))
    assert found.rate_in_silence() == pytest.approx(theory.growth_rate(*betas, exponent), rel=1e-9)
    assert found.share_of_bound()[-1] == pytest.approx(1.0, rel=1e-9)
