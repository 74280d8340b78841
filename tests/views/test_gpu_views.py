"""Views in one pass on a GPU: interpreted on the CPU they are those of torch, and the kernel compiles for GPUs."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from view_batches import ALL_ON, policy_of, random_images

from cl_core.rng import SampleRng
from cl_core.views.image_operations.chain import make_view

# Policy, options, samples, channels, height and width of the images, size of the views.
BATCHES = (
    ("simclr", ALL_ON, 5, 3, 20, 20, 20),
    ("simclr", ALL_ON, 3, 1, 9, 5, 40),
    ("simclr", ALL_ON, 2, 3, 33, 80, 7),
    ("multi_crop", {"local_count": 1}, 1, 3, 32, 32, 32),
)
MEAN, STD = 0.4, 0.25


def compare() -> None:
    """In a process of its own, where kernels are interpreted: Triton asks for that when it is imported."""
    from cl_core.modalities._image_processor import ImageProcessor
    from cl_core.views.image_operations.fused.gpu_views import gpu_views

    for name, options, count, channels, height, width, size in BATCHES:
        images, policy = random_images(count, channels, height, width), policy_of(name, **options)
        processor = ImageProcessor((MEAN,) * channels, (STD,) * channels, size)
        drawn = list(policy._drawn(images, SampleRng(7, 0, np.arange(count, dtype=np.uint64) + 2**50), processor))
        pixels = (images / 255).permute(0, 3, 1, 2)
        views = gpu_views(images, drawn, mean=processor.mean_values, std=processor.std_values)
        for view, (parameters, side) in zip(views, drawn, strict=True):
            wanted = processor.view(make_view(pixels, parameters, size=side, fill=processor.mean_values))
            assert view.shape == wanted.shape and view.dtype == torch.float32
            assert view.is_contiguous(memory_format=torch.channels_last)
            apart = (view - wanted).abs() * STD
            # A value at the threshold of the solarization may be on its other side: one of 10,000, so none of these.
            assert apart.max() <= 5e-4, f"{name}, {channels} channels, {height} x {width} to {side}: {apart.max()}"


def build() -> None:
    """In a process of its own: compile the kernel for an H100 and an A100, without one."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from cl_core.views.image_operations.fused import gpu_kernel

    pointers = {"images": "*u8", "wholes": "*i32", "reals": "*fp32", "channels_of": "*fp32"}
    pointers |= {"scratch": "*fp32", "views": "*fp32", "count": "i32"}
    for channels, capability in ((3, 90), (1, 80)):
        fixed = {"image_height": 96, "image_width": 96, "size": 96, "channels": channels, "block": gpu_kernel.BLOCK}
        source = ASTSource(gpu_kernel.gpu_view_kernel, {**pointers, **dict.fromkeys(fixed, "constexpr")}, fixed)
        options = {"num_warps": gpu_kernel.WARPS}
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        assert len(compiled.asm["cubin"]) > 10_000


def in_a_process(function: str, **settings: str) -> None:
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parents[1]), str(Path(__file__).parent)])
    program = f"import {Path(__file__).stem} as tests; tests.{function}()"
    environment = {**os.environ, "PYTHONPATH": path, **settings}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.integration
def test_interpreted_it_makes_the_views_of_torch() -> None:
    in_a_process("compare", TRITON_INTERPRET="1")


@pytest.mark.sweep
def test_it_compiles_for_gpus(tmp_path: Path) -> None:
    in_a_process("build", TRITON_CACHE_DIR=str(tmp_path))


def test_it_is_used_where_triton_is_and_policies_without_it_stay_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert policy_of("simclr").kernel_device("cpu") == policy_of("dacl_mixup").kernel_device("cuda") == "cpu"
    monkeypatch.setattr("cl_core.views._chain_views.has_triton", lambda: True)
    assert policy_of("simclr").kernel_device("cuda") == "cuda"
    monkeypatch.setattr("cl_core.views._chain_views.has_triton", lambda: False)
    assert policy_of("simclr").kernel_device("cuda") == "cpu"
