"""`cl parity`: every part agrees with somebody else's code, and a part that did not would be seen."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cl_core import parity
from cl_core.registry import LOSSES, METHODS

CHECKS = list(parity.checks())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.part}-{check.library}-{check.what}")
def test_a_part_and_a_library_agree_in_value_and_gradient(check):
    found = parity.compare(check)
    assert found.verdict == "equal", found
    assert found.version and math.isfinite(found.ours)
    assert max(found.value_difference, found.gradient_difference) <= 1e-10


def test_every_loss_and_method_is_compared_or_said_why_not():
    compared, elsewhere = {check.part for check in CHECKS}, set(parity.ELSEWHERE)
    assert compared | elsewhere >= {*LOSSES.names(), *METHODS.names()}
    assert not compared & elsewhere
    assert elsewhere & set(LOSSES.names()) == {"margin_contrastive"}


def test_a_wrong_value_a_wrong_gradient_and_a_missing_library_are_told_apart():
    def half_the_gradient(first, second):
        loss = (first * second).sum()
        return loss.detach() / 2 + loss / 2

    def product(first, second):
        return (first * second).sum()

    right = parity.Check("product", "sum of products", "torch", product, lambda: product)
    assert parity.compare(right).verdict == "equal"
    assert parity.compare(right._replace(theirs=lambda: half_the_gradient)).verdict == "differs"
    assert parity.compare(
        right._replace(theirs=lambda: lambda first, second: product(first, second) + 1e-9)
    ).verdict == ("differs")
    missing = parity.compare(right._replace(library="no-such-library"))
    assert missing.verdict == "not installed" and math.isnan(missing.theirs)


@pytest.mark.integration
def test_the_command_prints_every_check_and_its_verdict(tmp_path):
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "COLUMNS": "200"}
    command = [str(Path(sys.executable).with_name("cl")), "parity"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("│ equal") == len(CHECKS)
    for part in {check.part for check in CHECKS} | set(parity.ELSEWHERE):
        assert part[:12] in done.stdout


def test_the_numbers_compared_are_not_of_a_special_kind():
    """Rows of unequal length, no two alike: a check on ones or on unit rows would hide a missing normalisation."""
    value, gradient = parity._with_gradient(lambda first, second: torch.cat([first, second]).norm(dim=1).std())
    assert value > 0.5 and bool((gradient.abs() > 0).all())
