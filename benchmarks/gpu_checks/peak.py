"""How much dense arithmetic in half precision a device can do."""

import torch

from gpu_checks.context import Context

# TFLOP/s by words of the device's name; of bfloat16, but of float16 on devices that have no
# bfloat16. Makers' numbers, without sparsity.
PEAKS = {
    "A100": 312,
    "H100": 989,
    "H100 NVL": 835,
    "H100 PCIe": 756,
    "H200": 989,
    "L40S": 362,
    "L4": 121,
    "RTX 4090": 165,
    "T4": 65,
    "V100": 125,
}
# Shares of a device, and slower ones of its name.
_OTHERS = ("MIG", "Laptop")


def peak_of(context: Context) -> tuple[float, str]:
    """Return operations per second, and where the number is from.

    Of a device that is not listed it is measured by large products.
    """
    if context.has_cuda:
        words = f" {torch.cuda.get_device_name().replace('-', ' ')} "
        for name in sorted(PEAKS, key=len, reverse=True):
            if f" {name} " in words and not any(other in words for other in _OTHERS):
                return PEAKS[name] * 1e12, f"the maker's, for {name}"
    return _measured(context), "measured by products of large matrices"


def _measured(context: Context) -> float:
    size = context.sized(8192 if context.has_cuda else 1024, 128)
    left, right = (torch.randn(size, size, device=context.device, dtype=context.half) for _ in "ab")
    return 2 * size**3 / context.seconds({"product": lambda: left @ right})["product"]
