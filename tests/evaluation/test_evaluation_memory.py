"""Features larger than the memory can be evaluated: they stay on the disk, and a sample takes few bytes besides."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mapped_features import FEATURES, write_features

# A sample has 1,024 bytes of features, 205 MB in all.
TRAIN, TEST = 200_000, 500
BYTES_A_SAMPLE = 200
BLOCKS_BYTES = 96 << 20  # Two dozen arrays of 4 MiB.


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = []
    for seed, samples in enumerate((TRAIN, TEST)):
        folders.append(tmp_path_factory.mktemp("features"))
        write_features(folders[-1], samples, seed=seed)
    return folders


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["knn", "linear_probe", "geometry"])
def test_an_evaluation_holds_at_most_200_bytes_a_sample_besides_its_blocks(splits: list[Path], name: str) -> None:
    bound = BYTES_A_SAMPLE * (TRAIN + TEST) + BLOCKS_BYTES
    # Otherwise a copy of the features would fit.
    assert bound < 4 * FEATURES * TRAIN
    script = str(Path(__file__).with_name("mapped_features.py"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, script, name, *map(str, splits)]
    grown = int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    print(f"{name}: {grown / 1e6:.0f} of {bound / 1e6:.0f} MB")
    assert grown <= bound
