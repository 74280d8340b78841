"""What two views of each image cost, here and with other libraries; `BLOCK=views make bench`.

All get the same images, decoded and in memory, and make two float32 views of each by SimCLR's policy: crop, flip, color
jitter, grayscale, normalization, and from 96 pixels on blur. Drawing the parameters is a part of it. Before anything is
timed, the fused kernel and torch must make the same views, and the views of each library must have the same statistics.
Libraries need not stack their views into a batch, which is in their favor.
"""

import argparse
import statistics
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from rounds import Contestant, end_if_void, installed, measure, spread, this_machine
from torch import Tensor

from cl_core.columns import Column, Columns, SamplePool
from cl_core.modalities._image_processor import ImageProcessor
from cl_core.rng import SampleRng
from cl_core.views import view_maker
from cl_core.views.simclr import SimCLRViews

BASE = "lightly, 1 core"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Side in pixels, probability of a blur, images in a batch of ours and of the others.
BLOCKS = ((32, 0.0, 1024, 128), (96, 0.0, 256, 64), (96, 0.5, 256, 64), (224, 0.0, 64, 16), (224, 0.5, 64, 16))
Make = Callable[[], list[Tensor]]


def pictures(count: int, size: int) -> np.ndarray:
    """Smooth images with some noise: (count, size, size, 3) uint8."""
    generator = torch.Generator().manual_seed(size)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic", align_corners=True)
    noisy = smooth + 0.05 * torch.randn(smooth.shape, generator=generator)
    return (noisy * 255).clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def ours(images: np.ndarray, blur: float, device: str = "cpu") -> dict[str, Make]:
    """Both backends: the kernel for the CPU, torch on the device where the images lie, and a GPU's kernel there."""
    policy = SimCLRViews(blur_probability=blur)
    rng = SampleRng(0, 0, np.arange(len(images), dtype=np.uint64) * 2**40)

    def maker(backend: str, where: str) -> Make:
        make, processor = view_maker(policy, backend), ImageProcessor(MEAN, STD, images.shape[1]).to(where)
        rows, pool = (torch.from_numpy(images).to(where),), SamplePool(Columns({"image": Column(images)}), where)
        return lambda: list(make(rows, rng=rng, processor=processor, pool=pool))

    on_gpu = {"fused, GPU": maker("fused", device)} if policy.kernel_device(device) != "cpu" else {}
    return {"fused": maker("fused", "cpu"), "torch": maker("torch", device), **on_gpu}


def limit(images: np.ndarray) -> Make:
    """What any augmentation does at least: write two views as float32."""
    rows = torch.from_numpy(images)
    return lambda: [rows.float(), rows.float()]


def lightly(images: np.ndarray, blur: float) -> Make:
    from lightly.transforms import SimCLRTransform

    transform = SimCLRTransform(input_size=images.shape[1], cj_strength=0.5, gaussian_blur=blur)
    pillow = [Image.fromarray(image) for image in images]
    return lambda: [view for image in pillow for view in transform(image)]


def torchvision(images: np.ndarray, blur: float, *, tensors: bool) -> Make:
    from torchvision.transforms import v2

    size = images.shape[1]
    kernel = 2 * max(1, size // 20) + 1
    steps = [
        v2.RandomResizedCrop(size, scale=(0.08, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        v2.RandomGrayscale(0.2),
        v2.RandomApply([v2.GaussianBlur(kernel, (0.1, 2.0))], p=blur),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ]
    transform = v2.Compose(steps)
    inputs = [torch.from_numpy(image).permute(2, 0, 1) if tensors else Image.fromarray(image) for image in images]
    return lambda: [transform(image) for image in inputs for _ in range(2)]


def kornia(images: np.ndarray, blur: float) -> Make:
    from kornia import augmentation

    size = images.shape[1]
    kernel = 2 * max(1, size // 20) + 1
    transform = augmentation.AugmentationSequential(
        augmentation.RandomResizedCrop((size, size), scale=(0.08, 1.0)),
        augmentation.RandomHorizontalFlip(),
        augmentation.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        augmentation.RandomGrayscale(p=0.2),
        augmentation.RandomGaussianBlur((kernel, kernel), (0.1, 2.0), p=blur),
        augmentation.Normalize(MEAN, STD),
    )
    rows = torch.from_numpy(images)
    return lambda: [transform(rows.permute(0, 3, 1, 2) / 255) for _ in range(2)]


def statistics_of(views: list[Tensor]) -> tuple[float, float, float]:
    """Mean, standard deviation, and mean difference of neighbors, of normalized views."""
    whole = torch.cat([view.reshape(-1, *view.shape[-3:]) for view in views]).double()
    return whole.mean().item(), whole.std().item(), whole.diff(dim=-1).abs().mean().item()


def apart(some: list[Tensor], others: list[Tensor]) -> float:
    """Return the greatest share, in any view, of values in 0..1 that differ by more than 5e-4."""
    scale = torch.tensor(STD).view(3, 1, 1)
    pairs = ((one.cpu(), other.cpu()) for one, other in zip(some, others, strict=True))
    return max(((one - other).abs() * scale > 5e-4).double().mean().item() for one, other in pairs)


def check(size: int, blur: float, makers: dict[str, Make], own: dict[str, Make]) -> None:
    """Refuse to compare what does not do the same."""
    assert apart(own["fused"](), own["torch"]()) <= 1e-4, f"{size} px: the views of both backends differ"
    torch.manual_seed(0)
    wanted = statistics_of(own["fused"]())
    for name, make in makers.items():
        found = statistics_of([view for _ in range(4) for view in make()])
        # Of some hundred views; blurs and resizing filters differ a little in their edges.
        for value, of_ours, tolerance in zip(found, wanted, (0.15, 0.1, 0.15 * wanted[2]), strict=True):
            assert abs(value - of_ours) < tolerance, f"{size} px, {name}: its views have {found}, ours {wanted}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="one short round, to see that everything runs")
    chosen = parser.parse_args()
    print(this_machine())
    races = []
    for size, blur, count, others in BLOCKS[:1] if chosen.small else BLOCKS:
        images = pictures(64 if chosen.small else count, size)
        some = images[: 16 if chosen.small else others]
        own = ours(images, blur)
        peers: dict[str, tuple[Make, int]] = {
            BASE: (lightly(some, blur), 1),
            "torchvision, Pillow, 1 core": (torchvision(some, blur, tensors=False), 1),
            "torchvision, tensors, 1 core": (torchvision(some, blur, tensors=True), 1),
        }
        if installed("kornia"):
            peers[f"kornia, {chosen.threads} cores"] = kornia(images, blur), chosen.threads
        torch.set_num_threads(chosen.threads)
        check(size, blur, {name: make for name, (make, _) in peers.items()}, own)

        def counted(make: Make) -> Callable[[], int]:
            return lambda: sum(view.numel() for view in make()) // (2 * 3 * size**2)  # noqa: B023

        contestants = {
            "fused, 1 core": Contestant(counted(own["fused"]), 1),
            f"fused, {chosen.threads} cores": Contestant(counted(own["fused"]), chosen.threads),
            f"torch, {chosen.threads} cores": Contestant(counted(own["torch"]), chosen.threads),
            **{name: Contestant(counted(make), threads) for name, (make, threads) in peers.items()},
            f"limit, {chosen.threads} cores": Contestant(counted(limit(images)), chosen.threads),
        }
        title = f"{size} px, {f'blur with probability {blur}' if blur else 'no blur'}"
        measured = measure(contestants, rounds=1 if chosen.small else chosen.rounds, title=title)
        print(f"\n{title}; pairs of views a second")
        for name in contestants:
            rate, cpu_rate = (statistics.median(of[name]) for of in (measured.rates, measured.cpu_rates))
            ratios = spread(measured.against(name, BASE))
            print(f"  {name:<30} {rate:>10,.0f}  {ratios:>26} x {BASE}; {cpu_rate:>9,.0f} per core", flush=True)
        races.append(measured)
    end_if_void(*races, small=chosen.small)


if __name__ == "__main__":
    main()
