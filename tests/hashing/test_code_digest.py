"""The digest of code: what is computed counts; how it is written, formatted and filed does not."""

import importlib
import subprocess
import sys

import pytest

from cl_core.hashing.code_digest import code_digest, forget_code, imported_modules

MAIN = '''
"""Adds things."""

import math
from pathlib import Path

from counted.maths import scale
from counted.texts import shout as loud


class Adder:
    """Adds a constant."""

    offset: float = Field(0.5, gt=0, title="Offset", description="Added to all.")
    """What is added."""

    def __call__(self, values, *, twice=False):
        """Return the sums."""
        if not values:
            raise ValueError(f"wanted values, got {values}")
        assert math.isfinite(self.offset), "offset is checked when it is given"
        logger.info("adding %s", self.offset)
        total = scale(values[0] - self.offset, 2)  # Twice.
        return total if twice else -total
'''
MATHS = """
from counted.deep.constants import BASE

def scale(value, factor):
    return BASE * value * factor
"""
SYNTAX = '''
"""Doc."""
from counted.maths import scale
async def f(x: "T", /, *y, z=1 + 2j, **w) -> list["T"]:
    match x:
        case {"a": None, **rest} | [1, *_] if (n := len(y)) > -1:
            return [f"{n!r:>{z}}" "b" for i, in y if i is not ...]
    async with x as a, z as b:
        await b[1:, ::2]
    try:
        del w["k"], a.b
    except* (OSError, KeyError) as e:
        raise RuntimeError("gone") from e
    return lambda *, k=0.1: {**w, "k": (yield), b"k": {*y}}
'''
CONSTANTS = "BASE = 10\nNAMES = {'first': 1, **OTHERS}\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose `main` imports `maths`, which imports `deep.constants`; nothing imports `unused`."""
    folder = tmp_path / "first" / "counted"
    (folder / "deep").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "main.py": MAIN,
        "maths.py": MATHS,
        "texts.py": "def shout(text):\n    return text.upper()\n",
        "deep/__init__.py": '"""Deep down."""\n',
        "deep/constants.py": CONSTANTS,
        "unused.py": "x = 1\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder.parent)
    yield folder
    sys.modules.pop("counted", None)
    forget_code()


def digest_now(*modules, **alone):
    forget_code()
    importlib.invalidate_caches()
    return code_digest(*(modules or ["counted.main"]), **alone)


def edited(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Adds things."""', ""),
        ('"""Adds a constant."""', '"""Adds a\n    constant, and more."""'),
        ('    """What is added."""\n', ""),
        ('        """Return the sums."""\n', ""),
        ("  # Twice.", "  # Two times."),
        ('title="Offset", description="Added to all."', 'description="Is added.", title="Summand"'),
        ('f"wanted values, got {values}"', '"values are missing"'),
        (', "offset is checked when it is given"', ""),
        ('        logger.info("adding %s", self.offset)\n', ""),
        (
            "(self, values, *, twice=False)",
            "(\n        self, values,\n        *, twice=False,\n    )",
        ),
        ("values[0] - self.offset, 2", "(values[0]) - (self.offset), 2,"),
        ("import math\nfrom pathlib import Path", "from pathlib import Path\nimport math"),
        (
            "return total if twice else -total",
            "return (\n            total if twice else (-total)\n        )",
        ),
        ('{"one"}', "{'one'}"),
    ],
)
def test_what_only_people_read_does_not_count(package, old, new):
    (package / "main.py").write_text(MAIN + 'NAMES = {"one"}\n')
    before = digest_now()
    edited(package / "main.py", old, new)
    assert digest_now() == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("main.py", "values[0] - self.offset", "self.offset - values[0]"),
        ("main.py", ", 2)", ", 3)"),
        ("main.py", ", 2)", ", 2.0)"),
        ("main.py", "Field(0.5", "Field(0.25"),
        ("main.py", "gt=0", "ge=0"),
        ("main.py", "-total", "+total"),
        ("main.py", "not values", "values"),
        ("main.py", "values[0]", "values[1]"),
        ("main.py", "twice=False", "twice=None"),
        ("main.py", "*, twice", "twice"),
        ("main.py", "ValueError", "TypeError"),
        ("main.py", "import shout as loud", "import shout"),
        ("main.py", "from pathlib import Path", "from mypaths import Path"),
        ("main.py", "total = scale", "total += scale"),
        ("maths.py", "BASE * value", "value / BASE"),
        ("maths.py", "value, factor)", "factor, value)"),
        ("deep/constants.py", "10", "11"),
        ("deep/constants.py", "'first'", "'second'"),
        ("deep/constants.py", "**OTHERS", "None: OTHERS"),
        ("texts.py", "upper", "lower"),
    ],
)
def test_what_is_computed_counts_also_in_what_is_imported(package, file, old, new):
    before = digest_now()
    text = (package / file).read_text()
    edited(package / file, old, new)
    assert digest_now() != before
    (package / file).write_text(text)
    assert digest_now() == before


def test_codes_of_errors_count_and_their_sentences_do_not(package):
    path = package / "main.py"
    path.write_text('raise Rejected("too_large", f"of {size} pixels")\n')
    before = digest_now()
    path.write_text('raise Rejected("too_large", "larger than allowed")\n')
    assert digest_now() == before
    path.write_text('raise Rejected("empty", f"of {size} pixels")\n')
    assert digest_now() != before


def test_the_order_of_statements_counts(package):
    path = package / "main.py"
    path.write_text("a = 1\nb = 2\n")
    before = digest_now()
    path.write_text("b = 2\na = 1\n")
    assert digest_now() != before


def test_modules_that_nothing_imports_do_not_count(package):
    before = digest_now()
    (package / "unused.py").write_text("x = 2\n")
    (package / "new.py").write_text("x = 2\n")
    assert digest_now() == before


def test_a_moved_or_renamed_file_changes_no_digest(package):
    before = digest_now()
    (package / "maths.py").rename(package / "deep" / "arithmetic.py")
    # Sorted anew, as a formatter would: the moved module now comes after the other.
    edited(
        package / "main.py",
        "from counted.maths import scale\nfrom counted.texts import shout as loud\n",
        "from counted.texts import shout as loud\n\nfrom counted.deep.arithmetic import scale\n",
    )
    edited(package / "deep" / "arithmetic.py", "counted.deep.constants", "counted.deep.numbers")
    (package / "deep" / "constants.py").rename(package / "deep" / "numbers.py")
    assert digest_now() == before


def test_relative_imports_are_followed_and_count_as_absolute_ones(package):
    before = digest_now()
    edited(package / "main.py", "from counted.maths", "from .maths")
    edited(package / "maths.py", "from counted.deep.constants", "from .deep.constants")
    assert digest_now() == before
    edited(package / "deep" / "constants.py", "10", "11")
    assert digest_now() != before


def test_a_module_imported_by_name_is_followed(package):
    (package / "main.py").write_text("from counted.deep import constants\n")
    before = digest_now()
    edited(package / "deep" / "constants.py", "10", "11")
    assert digest_now() != before
    assert imported_modules("counted.main") == {"counted.deep.constants"}


def test_imports_inside_functions_and_circles_are_followed(package):
    (package / "main.py").write_text("def late():\n    from counted.maths import scale\n    return scale\n")
    (package / "deep" / "constants.py").write_text("import counted.main\nBASE = 10\n")
    before = digest_now()
    edited(package / "deep" / "constants.py", "10", "11")
    assert digest_now() != before


def test_a_module_named_alone_counts_without_what_it_imports(package):
    before = digest_now(alone=["counted.main"])
    whole = digest_now()
    edited(package / "maths.py", "BASE * value", "value / BASE")
    assert digest_now("counted.unused", alone=["counted.main"]) != before
    edited(package / "main.py", ", 2)", ", 3)")
    assert digest_now() != whole


def test_packages_of_others_are_not_followed(package):
    (package / "main.py").write_text("import json\nfrom torch import nn\n")
    assert imported_modules("counted.main") == set()


def test_infrastructure_does_not_count():
    forget_code()
    assert "cl_core.errors" not in imported_modules("cl_core.losses.info_nce")
    assert imported_modules("cl_core.losses.info_nce") == {"cl_core.losses", "cl_core.losses._pair_sums"}


def test_a_missing_module_is_our_own_mistake(package):
    with pytest.raises(AssertionError, match=r"there is no source file of module counted\.gone"):
        digest_now("counted.gone")


def test_another_line_length_changes_no_digest(package):
    before = digest_now()
    for length in (40, 160):
        command = ["ruff", "format", "--isolated", "--line-length", str(length), str(package)]
        subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
        assert digest_now() == before
    assert (package / "main.py").read_text() != MAIN


def test_the_serialization_does_not_depend_on_the_version_of_python(package):
    """Known since it was first written; a version that reads a file in another way would train everything again."""
    (package / "main.py").write_text(SYNTAX)
    (package / "maths.py").write_text("")
    assert digest_now() == "c99d5e3179f7525a5222d24554c2b0bae7440736574324d5843958255bb6c69a"
