"""Links of the README and CONTRIBUTING lead somewhere; those among the pages of docs are checked by `make docs`."""

import re

import pytest
from pages import ROOT, name, pages


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_link_to_a_file_leads_to_one(name):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / name).read_text())
    missing = [target for target in targets if not target.startswith("http") and not (ROOT / target).exists()]
    assert not missing


def test_every_decision_is_in_the_index_and_has_a_date():
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\(([^)]+\.md)\)", (folder / "index.md").read_text())
    files = sorted(path.name for path in folder.glob("*.md") if path.name != "index.md")
    assert sorted(listed) == files
    assert all(re.match(r"\d{4}-\d{2}-\d{2}-[a-z0-9-]+\.md", file) for file in files)


def test_every_module_that_a_page_names_exists():
    missing = []
    for page in pages():
        named = re.findall(r"`((?:cl_core|tasks|flows|infra|tests)/[\w./-]*\w/?)`", page.read_text())
        missing += [f"{name(page)}: {path}" for path in named if "my_" not in path and not (ROOT / path).exists()]
    assert not missing
