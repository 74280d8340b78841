"""Code blocks of the documentation are correct: their commands are understood, and the sweep runs them.

A block that cannot be run has the comment `<!-- not run: REASON -->` above it. `<!-- file: PATH -->` names a file that
the reader writes. Blocks of `text` are output.
"""

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pages import ROOT, Block, blocks, name, pages
from ruamel.yaml import YAML

from cl_core.data.sources.synthetic import Synthetic
from flows.cli.app import make_app
from flows.deployments.schema import Declaration

MOST_NOT_RUN = 10
TUTORIAL = ROOT / "docs" / "tutorial" / "own-images.md"  # First: others use its model.
FETCHING = ROOT / "docs" / "how-to" / "fetch-a-model.md"  # Run by tests/integration/test_fetching.py.

# Smaller images than a reader's, so that a training takes seconds.
SMALLER = {"image-size 32": "image-size 16", '"image_size": 32': '"image_size": 16'}
PLUG_IN = "sharp_info_nce"  # The loss of the page on components.


def as_run(block: Block) -> Block:
    """Return a block as the sweep runs it, on small images."""
    code = block.code
    for written, run in SMALLER.items():
        code = code.replace(written, run)
    return dataclasses.replace(block, code=code)


ALL = [as_run(block) for page in pages() for block in blocks(page)]
RUN = [page for page in pages() if any(b.language in ("sh", "python") and not b.not_run for b in blocks(page))]
RUN = sorted(
    (page for page in RUN if page != FETCHING), key=lambda page: (page != TUTORIAL, page.parent != TUTORIAL.parent)
)


def test_at_most_ten_blocks_are_not_run():
    assert len([block for block in ALL if block.not_run]) <= MOST_NOT_RUN


def test_every_block_says_its_language_and_can_be_read():
    for block in ALL:
        readers = {
            "json": json.loads,
            "toml": tomllib.loads,
            "yaml": YAML(typ="safe").load,
            "python": lambda code, block=block: compile(code, str(block), "exec"),
            "sh": shlex.split,
            "sql": str,
            "text": str,
        }
        assert block.language in readers, block
        readers[block.language](block.code)


def test_every_command_is_understood():
    app = make_app()
    for block in ALL:
        for words in commands(block):
            words = ["info_nce" if word == PLUG_IN else word for word in words]  # It is not installed here.
            if "--recipe" in words:
                at = words.index("--recipe")
                words = words[:at] + words[at + 2 :] + ["--data.name", "parts", "--data.source", "image_folder"]
            app.parse_args(words[1:], exit_on_error=False, print_error=False)


def test_every_declaration_of_deployments_is_valid():
    declared = [YAML(typ="safe").load(block.code) for block in ALL if block.language == "yaml"]
    assert [Declaration.model_validate(each).work_pool for each in declared] == ["counterpoint"]


def commands(block: Block) -> list[list[str]]:
    """Return the calls of `cl` in a block."""
    if block.language != "sh":
        return []
    lines = re.sub(r"\\\n\s*", " ", block.code).splitlines()
    calls = [re.sub(r"^(\w+=\S+ )+", "", line) for line in lines]
    return [shlex.split(call, comments=True) for call in calls if call.startswith("cl ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a reader: images in three layouts, an export, and the programs that the pages call."""
    root = tmp_path_factory.mktemp("reader")
    samples = list(Synthetic(count=260, classes=2, size=32, channels=3).samples(""))
    kinds = {"disc": "bolt", "ring": "nut"}
    for number, sample in enumerate(samples):
        kind, file = kinds[str(sample.label)], f"{number:04}.png"
        places = [f"parts/{kind}/{file}", f"scans/{kind}/patient-{number // 4:02}/{file}", f"named/{kind}_{file}"]
        for place in places if number < 240 else [f"new/{file}"]:
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_bytes(sample.payload)
    (root / "query.png").write_bytes(samples[-1].payload)
    (root / "export").mkdir()
    rows = {"picture": [s.payload for s in samples], "kind": [kinds[str(s.label)] for s in samples]}
    pq.write_table(pa.table(rows), root / "export" / "parts.parquet")
    program(root / "bin" / "cl", f"exec {sys.executable} -c 'from flows.cli.app import main; main()' \"$@\"")
    program(root / "bin" / "python", f'exec {sys.executable} "$@"')
    options = "--no-deps --no-build-isolation --quiet --target site"
    program(root / "bin" / "pip", f'exec {sys.executable} -m pip "$1" {options} "${{@:2}}"')
    return root


def program(path: Path, line: str) -> None:
    """Write a program of one line of bash."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{line}\n")
    path.chmod(0o755)


@pytest.mark.sweep
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", RUN, ids=name)
def test_the_blocks_of_a_page_run(page: Path, folder: Path) -> None:
    environment = {
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "HOME": str(folder),
        "PYTHONPATH": f"{ROOT}:{folder / 'site'}",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "DO_NOT_TRACK": "1",
        **{key: value for key, value in os.environ.items() if key.startswith("RAY_")},
    }
    for block in blocks(page):
        run_block(as_run(block), folder, environment)


def run_block(block: Block, folder: Path, environment: dict[str, str]) -> None:
    """Write a block to the file that it is, or run it."""
    if block.not_run or (block.language == "text" and not block.file):
        return
    if block.file:
        path = folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.code)
        return
    command = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": ["python", "-c"]}[block.language]
    done = subprocess.run(
        [*command, block.code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{block}\n{block.code}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
