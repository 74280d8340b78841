"""What `training.precision: auto` takes."""

from typing import Literal

import torch


def fast_precision(*, on_gpu: bool) -> Literal["bf16", "fp32"]:
    """Return bf16 where the hardware multiplies faster in it than in fp32.

    Asked of the hardware and never measured, so that the same machine always makes the same spec.

    Sources: torch.cpu.get_capabilities; LLVM's models of processors for the instruction of AVX-512 BF16, VDPBF16PS
    (docs/decisions/2026-11-30-bf16-on-intel-needs-amx.md).
    """
    if on_gpu:  # The driver of a cluster may have no GPU to ask; its workers' are taken for recent ones.
        is_fast = not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if is_fast else "fp32"
    cpu = torch.cpu.get_capabilities()
    if cpu.get("amx_bf16") or cpu.get("bf16"):  # Products of tiles, on Intel and Arm.
        return "bf16"
    # AMD issues the instruction as often as a multiplication in fp32, and it has twice the products. Intel splits it
    # into four operations, which takes twice as long as fp32: a Xeon has AMX for that, which some hypervisors hide.
    return "bf16" if cpu.get("avx512_bf16") and str(cpu.get("cpu_name")).startswith("AMD") else "fp32"
