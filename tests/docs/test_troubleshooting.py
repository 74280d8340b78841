"""Every error and reason code has an entry in troubleshooting, and every message there is one of the code."""

import os
import re
from typing import get_args

import pytest
from messages import is_a_message, nearest, reworded
from pages import ROOT, blocks
from reference.errors import error_classes

from cl_core.modalities import Reason

PAGE = ROOT / "docs" / "troubleshooting.md"
BASES = {"CounterpointError", "InputError", "TrainingError", "InfrastructureError"}  # Their subclasses are raised.


def headings():
    return re.findall(r"^#+ (.*)$", PAGE.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def errors():
    """The names of all error classes; it imports every module."""
    return error_classes()


def test_every_error_class_has_an_entry(errors):
    named = " ".join(headings())
    missing = [name for name in errors if name not in BASES - {"InputError", "InfrastructureError"}]
    assert not [name for name in missing if f"`{name}`" not in named]


def test_every_reason_of_quarantine_has_an_entry():
    assert not [reason for reason in get_args(Reason) if f"`{reason}`" not in " ".join(headings())]


def test_every_message_is_one_of_the_code():
    """With CL_UPDATE_GOLDEN=1, a message that was reworded is replaced by the text in the code that is most like it."""
    text, wrong = PAGE.read_text(), []
    for block in blocks(PAGE):
        for line in filter(None, block.code.splitlines() if block.language == "text" else []):
            message = line.removeprefix("error: ")
            if not is_a_message(message):
                near = nearest(message)
                wrong.append(f"{block}: {message}\n  nearest, in {near.path}:{near.line}: {near.shown}")
                text = text.replace(message, reworded(message))
    if os.environ.get("CL_UPDATE_GOLDEN") == "1":
        PAGE.write_text(text)
        return
    assert not wrong, "\n".join(wrong)
