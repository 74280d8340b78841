"""Views in one pass: those of torch, whichever operations, sizes and threads; and what holds without numba."""

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numba
import numpy as np
import pytest
import torch
from view_batches import ALL_ON, CHAINS, make, policy_of, random_images

from cl_core.columns import Column, Columns, SamplePool
from cl_core.errors import SpecError
from cl_core.modalities._image_processor import ImageProcessor
from cl_core.parallel import compiling
from cl_core.rng import SampleRng
from cl_core.views import view_maker
from cl_core.views._options import Operation
from cl_core.views.simclr import SimCLRViews

pytestmark = pytest.mark.usefixtures("compiled_views")

SIZES = [(1, 1, 2), (28, 28, 28), (32, 32, 32), (20, 20, 64), (33, 150, 17), (250, 250, 7), (96, 64, 96), (5, 9, 50)]


def assert_alike(fused: tuple[torch.Tensor, ...], made: tuple[torch.Tensor, ...]) -> None:
    """To 5e-4 of values in 0..1; where they are at a threshold, one of 10,000 may be on its other side."""
    for view, wanted in zip(fused, made, strict=True):
        assert view.shape == wanted.shape and view.dtype == wanted.dtype == torch.float32
        assert view.is_contiguous(memory_format=torch.channels_last)
        assert ((view - wanted).abs() > 5e-4).float().mean() <= 1e-4


def both(policy, images, **given):
    ids = np.arange(len(images)) * 2**40 + 5
    return make(policy.fused, images, ids, **given), make(policy, images, ids, **given)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_all_operations_together_make_the_views_of_torch(height, width, size, channels):
    images = random_images(96, channels, height, width)
    fused, made = both(policy_of("simclr", **ALL_ON), images, size=size)
    assert_alike(fused, made)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", get_args(Operation))
def test_each_operation_alone_makes_the_views_of_torch(operation, channels):
    others = set(get_args(Operation)) - {operation}
    if operation in {"brightness", "contrast", "saturation", "hue"}:
        others -= {"jitter"}
    policy = policy_of("simclr", **ALL_ON, without=sorted(others))
    images = random_images(64, channels, 40, 40)
    fused, made = both(policy, images, size=40)
    assert_alike(fused, made)
    plain = make(policy_of("simclr", without=list(get_args(Operation))).fused, images, range(64), size=40)
    is_without_effect = channels == 1 and operation in {"saturation", "hue", "grayscale"}
    # The jitter's strengths are those that are off.
    assert torch.equal(fused[0], plain[0]) == (is_without_effect or operation == "jitter")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CHAINS)
def test_every_policy_makes_the_views_of_torch_normalized(name, channels):
    fused, made = both(policy_of(name), random_images(48, channels, 32, 32), size=32, mean=0.4, std=0.25)
    assert_alike(tuple(view * 0.25 for view in fused), tuple(view * 0.25 for view in made))


def test_special_colors_have_the_hue_of_torch():
    images = random_images(24, 3, 16, 16)
    images[0], images[1], images[2] = 0, 255, images[2, :, :, :1]
    images[3] = (images[3] > 127) * 255
    images[4, :, :, 2] = images[4, :, :, 0]
    fused, made = both(policy_of("simclr", hue=0.5, jitter_probability=1), images, size=16)
    assert_alike(fused, made)


def test_the_whole_image_comes_back_exactly():
    images = random_images(256, 3, 16, 16)
    images[:, 0, 0, 0] = torch.arange(256)
    policy = policy_of("simclr", without=list(get_args(Operation)))
    for view in make(policy.fused, images, range(256), size=16):
        assert torch.equal(view, images.permute(0, 3, 1, 2) / 255)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_view_has_the_same_bits_with_any_number_of_threads_and_in_any_batch(channels):
    policy, before = policy_of("multi_crop", **ALL_ON), torch.get_num_threads()
    images, ids = random_images(40, channels, 32, 32), np.arange(40) + 2**50
    whole = make(policy.fused, images, ids, size=32)
    try:
        for threads, part in ((2, range(40)), (3, range(40)), (5, [7]), (2, [39, 3, 3]), (1, range(20, 40))):
            torch.set_num_threads(threads)
            for view, wanted in zip(make(policy.fused, images[part], ids[part], size=32), whole, strict=True):
                assert torch.equal(view, wanted[part])
    finally:
        torch.set_num_threads(before)


def test_memory_is_used_again_once_nothing_refers_to_the_views_and_not_before():
    images, policy = random_images(6, 3, 32, 32), policy_of("multi_crop")
    pool = SamplePool(Columns({"image": Column(images.numpy())}))
    rngs = [SampleRng(7, epoch, np.arange(6, dtype=np.uint64)) for epoch in range(4)]
    processor = ImageProcessor((0.5,) * 3, (0.2,) * 3, 32)

    def views(epoch):
        return policy.fused((images,), rng=rngs[epoch], processor=processor, pool=pool)

    def places(tensors):
        return {tensor.data_ptr() for tensor in tensors}

    wanted = [tuple(view.clone() for view in views(epoch)) for epoch in range(4)]
    held, second = views(0), views(1)
    # Autograd alone keeps the second ones, for the gradient of the weight.
    weight = torch.ones(3, requires_grad=True)
    losses = [(view.permute(0, 2, 3, 1) * weight).sum() for view in second]
    kept = places(held) | places(second)
    del second
    third = views(2)
    assert not places(third) & kept
    assert all(map(torch.equal, held, wanted[0])) and all(map(torch.equal, third, wanted[2]))
    sum(losses).backward()
    torch.testing.assert_close(weight.grad, sum(view.sum((0, 2, 3)) for view in wanted[1]))
    del held, losses
    fourth = views(3)
    assert places(fourth) <= kept and all(map(torch.equal, fourth, wanted[3]))
    del third, fourth
    assert sum(map(len, pool.spare.values())) == 3 * policy.count


def test_rows_that_are_read_only_or_not_contiguous_are_taken():
    images = random_images(6, 3, 32, 32)
    policy = policy_of("simclr")
    wanted = make(policy.fused, images, range(6), size=32)
    turned = images.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    for view, of_wanted in zip(make(policy.fused, turned, range(6), size=32), wanted, strict=True):
        assert torch.equal(view, of_wanted)


def test_a_backend_that_cannot_be_used_is_refused_with_what_to_choose(monkeypatch):
    with pytest.raises(SpecError, match=r"^training\.views_backend: .* 'dacl_mixup' has no kernel; choose auto, or"):
        view_maker(policy_of("dacl_mixup"), "fused")
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(SpecError, match=r"^training\.views_backend: .* numba cannot be imported .*; choose auto, or"):
        view_maker(policy_of("simclr"), "fused")
    assert view_maker(policy := policy_of("simclr"), "torch") is policy


def test_a_policy_that_makes_its_views_itself_is_not_taken_for_a_plain_chain():
    class Inverted(SimCLRViews):
        def __call__(self, images, **given):
            return tuple(-view for view in super().__call__(images, **given))

    assert "makes its views itself" in Inverted().why_not_fused() and SimCLRViews().why_not_fused() == ""


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
import torch
from cl_core.specs import TrainingSpec
from cl_core.training.components import assemble
from cl_core.views import view_maker
from view_batches import make, random_images
parts = assemble(TrainingSpec())
make(view_maker(parts.views, parts.spec.views_backend), random_images(4, 3), range(4))
print(parts.spec.views_backend, [name for name in sys.modules if name.endswith("fused_views") or "numba" in name])
"""


@pytest.mark.slow_unit(reason="a process imports torch")
def test_without_numba_views_are_made_by_torch():
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tests.parent, tests, tests / "views")))}
    command = [sys.executable, "-c", WITHOUT_NUMBA]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "torch ['numba']\n"


def _kernel(value):
    return value + 1


def test_compiled_kernels_are_kept_where_only_their_user_can_read(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert compiling.compiled(_kernel, numba.types.int64)(1) == 2
    assert Path(numba.config.CACHE_DIR) == tmp_path
    (folder,) = (tmp_path / "counterpoint" / "numba").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(list(folder.rglob("*.nbi"))) == 1


def test_a_kernel_that_cannot_be_kept_is_compiled_all_the_same(tmp_path, monkeypatch, caplog):
    (tmp_path / "counterpoint").write_text("a file where a folder should be")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert compiling.compiled(_kernel, numba.types.int64)(1) == 2
    assert "compiled in each process" in caplog.text


def test_a_folder_of_another_user_is_not_read(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiling.os, "geteuid", lambda: 12345)
    with caplog.at_level(logging.WARNING):
        assert compiling.compiled(_kernel, numba.types.int64)(1) == 2
    assert "belongs to user" in caplog.text and not list(tmp_path.rglob("*.nb*"))
