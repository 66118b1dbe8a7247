"""Networks of 8-bit weights and activations, by ONNX Runtime's static quantiser."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vkd.deployment.samples import Inputs
from vkd.errors import RunError, UserError, reason_of, shortened

METHOD = (
    "static, QDQ: weights in int8 (7 bits, for processors without VNNI), a scale for each channel; "
    "activations in uint8, ranges by MinMax"
)
# Operators with weights, and those that ONNX Runtime joins with the one before. All others, such as
# normalisation, softmax, GELU and the products of attention, stay in float.
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
JOINED = ("Relu", "Clip", "MaxPool")
# Operators that compute nothing, and those of quantisation itself.
_LAYOUT = {
    "Cast", "Concat", "Constant", "ConstantOfShape", "DequantizeLinear", "Expand", "Flatten",
    "Gather", "Identity", "Pad", "QuantizeLinear", "Range", "Reshape", "Shape", "Slice", "Split",
    "Squeeze", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip


@dataclass
class Quantization:
    """How a file was quantised.

    Attributes:
        method: in words.
        pictures: that it was calibrated with.
        int8: operators that compute in 8 bits, by kind.
        float: those that compute in float, by kind.
    """

    method: str = METHOD
    pictures: int = 0
    int8: dict[str, int] = field(default_factory=dict)
    float: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON knows them."""
        return asdict(self)


def quantized(source: Path, target: Path, calibration: Iterable[Inputs]) -> Quantization:
    """Write ``source``, an ``.onnx`` file, with 8-bit operators; return what was done.

    Args:
        source: in float.
        target: the new file; without metadata.
        calibration: batches of inputs, whose activations give the ranges.

    Raises:
        RunError: if it cannot be quantised, or nothing in it can.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    reader = Reader(calibration)
    with TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.onnx"
        try:
            # Folds normalisation into convolutions, whose ranges would be others otherwise.
            quant_pre_process(source, ready, skip_symbolic_shape=True)
            excluded = without_weights(onnx.load(ready))
            quantize_static(
                ready,
                target,
                reader,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*WEIGHTED, *JOINED],
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=excluded,
            )
        except UserError:
            raise
        # The quantiser's errors have no common base.
        except Exception as error:
            raise RunError(
                f"ONNX Runtime cannot quantise the network: {shortened(reason_of(error), 150)}."
            ) from error
    found = _counted(onnx.load(target))
    found.pictures = reader.count
    if not found.int8:
        raise RunError(
            f"The network has no operator to quantise: none of {', '.join(WEIGHTED)} with weights."
        )
    return found


class Reader:
    """Calibration batches as ONNX Runtime's quantiser takes them, counted."""

    def __init__(self, batches: Iterable[Inputs]) -> None:
        self._batches, self.count = iter(batches), 0

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        self.count += len(next(iter(batch.values())))
        return {name: part.numpy() for name, part in batch.items()}


def without_weights(model: Any) -> list[str]:
    """The names of products of two activations."""
    weights = {part.name for part in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in WEIGHTED and node.input[1] not in weights
    ]


def _counted(model: Any) -> Quantization:
    """The operators that compute with 8-bit weights, and all others that compute."""
    from_8_bits = {
        name
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        for name in node.output
    }
    kinds: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for node in model.graph.node:
        if node.op_type not in _LAYOUT:
            is_weighted = node.op_type in WEIGHTED and node.input[1] in from_8_bits
            is_joined = node.op_type in JOINED and node.input[0] in from_8_bits
            kinds[is_weighted or is_joined][node.op_type] += 1
    return Quantization(
        int8=dict(kinds[True].most_common()), float=dict(kinds[False].most_common())
    )


def set_metadata(file: Path, metadata: Mapping[str, str]) -> None:
    """Let an ``.onnx`` file say of itself ``metadata`` alone."""
    import onnx

    model = onnx.load(file)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, file)


def named(kinds: dict[str, int]) -> str:
    """Return operators with their numbers in words."""
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"
