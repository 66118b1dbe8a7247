"""Speed and memory of the ViDT detectors at 800 x 1333, against other ways to compute the same.

    python benchmarks/detection.py      # on the CPU, or CUDA where it is available

The baseline is the same network with the release's plain PyTorch attention: every softmax written
out, and samples of all maps stacked before they are weighted. ``transformers`` adds the attention
of Hugging Face's Deformable DETR, where it is installed. Each way runs in a process of its own, in
turn, so that memory is its own; images per second are of the best of several batches of one.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from vkd import create_model
from vkd.models.vidt import deformable_attention
from vkd.reporting.environment import environment

SIZE = (800, 1333)
MODELS = ("vidt_nano", "vidt_tiny")
Shapes = list[tuple[int, int]]


def stacked(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Sampling as in the release: maps one by one, all samples kept, then weighted and summed."""
    batch, _, heads, channels = value.shape
    queries = locations.shape[1]
    samples = []
    for level, part in enumerate(value.split([height * width for height, width in shapes], 1)):
        image = part.flatten(2).transpose(1, 2).reshape(batch * heads, channels, *shapes[level])
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
        samples.append(F.grid_sample(image, grid, padding_mode="zeros", align_corners=False))
    shares = weights.transpose(1, 2).reshape(batch * heads, 1, queries, -1)
    total = (torch.stack(samples, -2).flatten(-2) * shares).sum(-1)
    return total.view(batch, heads * channels, queries).transpose(1, 2).contiguous()


def hugging_face() -> Callable[[Tensor, Shapes, Tensor, Tensor], Tensor]:
    """Sampling by Hugging Face's Deformable DETR."""
    from transformers.models.deformable_detr import modeling_deformable_detr as theirs

    attention = theirs.MultiScaleDeformableAttention()

    def sample(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
        sizes = torch.tensor(shapes, device=value.device)
        starts = torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]])
        return attention(value, sizes, shapes, starts, locations, weights, 64)

    return sample


def explicit_attention(query, key, value, attn_mask=None, *_, **__):  # type: ignore[no-untyped-def]
    """Scaled dot-product attention with its softmax written out."""
    logits = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    if attn_mask is not None:
        logits = logits + attn_mask
    return logits.softmax(-1) @ value


def measure(name: str, way: str, repeats: int) -> dict[str, float]:
    """Return images per second and peak memory in MiB of one model computed one way."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    model = create_model(name).eval().to(device)
    if way == "release":
        deformable_attention.sample = stacked
        F.scaled_dot_product_attention = explicit_attention
        for module in model.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = False
    if way == "hugging face":
        deformable_attention.sample = hugging_face()
    images = torch.randn(1, 3, *SIZE, device=device)
    times = []
    with torch.no_grad():
        for _ in range(repeats + 1):
            began = time.perf_counter()
            outputs = model(images)
            # Reading a value waits for the device.
            checksum = float(outputs["pred_boxes"].double().sum())
            times.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    return {"images_per_second": 1 / min(times[1:]), "memory": peak, "checksum": checksum}


def measure_apart(name: str, way: str, repeats: int) -> dict[str, float]:
    """``measure`` in a process of its own."""
    command = [sys.executable, __file__, "--only", name, way, "--repeats", str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs=2, metavar=("MODEL", "WAY"), help="print one as JSON")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(*arguments.only, arguments.repeats)))
        return
    ways = ["release", "ours"]
    try:
        import transformers

        ways.append("hugging face")
        print(f"transformers {transformers.__version__}")
    except ImportError:
        print("transformers is not installed; its attention is left out")
    print(" · ".join(environment().values()))
    print(f"{'model':<12}{'attention':<16}{'images/s':>10}{'ratio':>8}{'MiB':>8}{'ratio':>8}")
    for name in MODELS:
        found = {way: measure_apart(name, way, arguments.repeats) for way in ways}
        base = found["release"]
        for way, numbers in found.items():
            # All ways compute the same boxes, or the comparison is void.
            assert abs(numbers["checksum"] - base["checksum"]) < 1e-2, (way, numbers, base)
            faster = numbers["images_per_second"] / base["images_per_second"]
            smaller = numbers["memory"] / base["memory"]
            print(
                f"{name:<12}{way:<16}{numbers['images_per_second']:>10.3f}{faster:>8.2f}"
                f"{numbers['memory']:>8.0f}{smaller:>8.2f}"
            )


if __name__ == "__main__":
    main()
