"""Every part agrees with a reference library, and a part that does not is reported."""

import math
from pathlib import Path

import pytest
import torch

from cl_core.registry import LOSSES, METHODS
from parity import checks
from parity.__main__ import markdown

CHECKS = list(checks.checks())
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "parity.md"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.part}-{check.library}-{check.what}")
def test_a_part_and_a_library_agree_in_value_and_gradient(check):
    found = checks.compare(check)
    assert found.verdict == "equal", found
    assert found.version and math.isfinite(found.ours)
    assert max(found.value_difference, found.gradient_difference) <= 1e-10


def test_every_loss_and_method_is_compared_or_said_why_not():
    compared, elsewhere = {check.part for check in CHECKS}, set(checks.ELSEWHERE)
    assert compared | elsewhere >= {*LOSSES.names(), *METHODS.names()}
    assert not compared & elsewhere
    assert elsewhere & set(LOSSES.names()) == {"margin_contrastive"}


def test_a_wrong_value_a_wrong_gradient_and_a_missing_library_are_distinguished():
    def half_the_gradient(first, second):
        loss = (first * second).sum()
        return loss.detach() / 2 + loss / 2

    def product(first, second):
        return (first * second).sum()

    right = checks.Check("product", "sum of products", "torch", product, lambda: product)
    assert checks.compare(right).verdict == "equal"
    assert checks.compare(right._replace(theirs=lambda: half_the_gradient)).verdict == "differs"
    assert checks.compare(
        right._replace(theirs=lambda: lambda first, second: product(first, second) + 1e-9)
    ).verdict == ("differs")
    missing = checks.compare(right._replace(library="no-such-library"))
    assert missing.verdict == "not installed" and math.isnan(missing.theirs)


def test_the_table_has_every_check_with_its_verdict_and_every_part_without_one():
    page = markdown([checks.compare(check) for check in CHECKS])
    assert page.count("| equal |") == len(CHECKS)
    for part in {check.part for check in CHECKS}:
        assert f"| {part} |" in page
    for part in checks.ELSEWHERE:
        assert f"- `{part}`: " in page


def test_the_page_in_the_documentation_has_these_checks_all_equal():
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    compared = [(part, what, library.split()[0], verdict) for part, what, library, verdict, *_ in rows[1:]]
    assert compared == [(check.part, check.what, check.library, "equal") for check in CHECKS], "run `make parity`"


def test_the_numbers_compared_are_not_of_a_special_kind():
    """Rows of unequal length, no two alike: a check on ones or on unit rows would hide a missing normalization."""
    value, gradient = checks._with_gradient(lambda first, second: torch.cat([first, second]).norm(dim=1).std())
    assert value > 0.5 and bool((gradient.abs() > 0).all())
