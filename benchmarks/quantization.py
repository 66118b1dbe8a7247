"""What 8 bits cost: digits networks in float and quantised in several ways, by test accuracy and by
the distance of logits from those in float (relative, root of mean squares).

    python benchmarks/quantization.py WORK_FOLDER [--seeds 3]

Trains a transformer and a convolutional network of each seed, writes them as ONNX, and quantises
them as ``vkd export --int8`` does and with one change of it at a time.
"""

import argparse
import json
import logging
from itertools import repeat
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import vkd
from vkd.api.int8 import evaluated
from vkd.data.samples import open_samples
from vkd.deployment import quantization
from vkd.deployment.description import read_exported
from vkd.deployment.samples import batches_of
from vkd.models.onnx_network import OnnxNetwork
from vkd.recipe import recipe
from vkd.training.task import Exported

RECIPES = {"conv_vit_digits": "digits", "cnn_digits": "digits-teacher"}
RESULTS = Path(__file__).parent / "results" / "quantization.json"
_OURS = [*quantization.WEIGHTED, *quantization.JOINED]
# What changes of ONNX Runtime's arguments, and whether products of two activations are quantised.
VARIANTS: dict[str, tuple[dict[str, Any], bool]] = {
    "as `vkd export --int8`": ({}, False),
    "weights of 8 bits, for VNNI alone": ({"reduce_range": False}, False),
    "one scale for all channels": ({"per_channel": False}, False),
    "products of attention too": ({}, True),
    "additions and GELU's too": ({"op_types_to_quantize": [*_OURS, "Add", "Mul"]}, False),
    "LayerNorm too": ({"op_types_to_quantize": [*_OURS, "LayerNormalization"]}, False),
    "softmax too": ({"op_types_to_quantize": [*_OURS, "Softmax"]}, True),
    "all that ONNX Runtime can": ({"op_types_to_quantize": None}, True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    flags = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for network, name in RECIPES.items():
        for seed in range(flags.seeds):
            folder = flags.folder / f"{network}-{seed}"
            if not folder.exists():
                vkd.train(name, folder, seed=seed, device="cpu", show=False, trackers="")
            for variant, measured in measures(folder).items():
                found.setdefault(network, {}).setdefault(variant, []).append(measured)
        for variant, values in found[network].items():
            rows = [f"{row['accuracy']:.2f} ({100 * row['distance']:.2f} %)" for row in values]
            print(f"{network}  {variant:36}" + "  ".join(rows))
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


def measures(folder: Path) -> dict[str, dict[str, float]]:
    """The accuracy in %, and the distance of logits, of a run exported in float and quantised."""
    source, ready = folder / "float.onnx", folder / "ready.onnx"
    if not source.exists():
        vkd.export(str(folder), source)
    quant_pre_process(source, ready, skip_symbolic_shape=True)
    said = read_exported(source).metadata
    config = recipe("digits", student=said["architecture"], device="cpu")
    exported = Exported(*_ends(said))
    images = next(batches_of(exported, open_samples(config)("test", 899).pictures, [899]))
    right = OnnxNetwork(source)(images["images"])
    found = {"float": {"accuracy": evaluated(config, source)["accuracy"], "distance": 0.0}}
    for name, (changes, with_products) in VARIANTS.items():
        pictures = open_samples(config)("train", 128).pictures
        target = folder / "int8.onnx"
        options: dict[str, Any] = {
            "op_types_to_quantize": _OURS, "per_channel": True, "reduce_range": True,
            "nodes_to_exclude": [] if with_products else quantization.without_weights(
                onnx.load(ready)
            ),
        }  # fmt: skip
        quantize_static(
            ready, target, quantization.Reader(batches_of(exported, pictures, repeat(8))),
            quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, **options | changes,
        )  # fmt: skip
        quantization.set_metadata(target, said)
        distance = (OnnxNetwork(target)(images["images"]) - right).norm() / right.norm()
        found[name] = {
            "accuracy": evaluated(config, target)["accuracy"], "distance": float(distance)
        }  # fmt: skip
    return found


def _ends(said: dict[str, str]) -> tuple[Any, ...]:
    """What of an exported network preparing pictures needs."""
    return None, {"images": None}, [], {"inputs": said["inputs"]}


if __name__ == "__main__":
    main()
