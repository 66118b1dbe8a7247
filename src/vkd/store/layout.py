"""How a store holds a teacher's outputs, and how these are restored."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vkd.errors import FieldError
from vkd.teacher import TeacherOutput, widths_of

CHECKS = "checks"
_CHECK_BYTES = 8
_FEATURES, _SCALES, _LOGITS, _KEPT, _REST = "features", "scales", "logits", "kept", "rest"
_INT8_LARGEST = 127


@dataclass(frozen=True)
class RowLayout:
    """How the rows of a store are held.

    Tensors (N, width) by name: ``features`` of the only layer, or ``features:LAYER`` of each of
    several; beside int8 ``scales``, likewise, by which a row of features is to be multiplied; and
    ``logits``, all, or of ``top_k`` classes their log-probabilities, with the classes' numbers,
    ``kept``, and the log-probability of each other class, ``rest``.

    Attributes:
        layers: names of the teacher's layers.
        classes: number of its logits; None without.
        dtype: of the features, float16, float32 or int8; logits are float16 beside int8.
        top_k: logits to keep of each row, the largest; 0 for all.
    """

    layers: tuple[str, ...]
    classes: int | None
    dtype: str
    top_k: int = 0

    @classmethod
    def of(cls, outputs: TeacherOutput, dtype: str, top_k: int = 0) -> "RowLayout":
        """Return the layout for a teacher's outputs.

        Raises:
            ValueError: if there are no features.
            FieldError: if ``top_k`` does not fit the logits.
        """
        widths, classes = widths_of(outputs)
        if not widths:
            raise ValueError("The teacher's outputs must have the features of a layer, found none.")
        if top_k and not top_k < (classes or 0):
            raise FieldError(
                "top_k",
                f"must be below the number of the teacher's logits, found {top_k} of "
                f"{classes or 'no'} logits.",
            )
        return cls(tuple(widths), classes, dtype, top_k)

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        """The type of each tensor, in the order in which rows are checked."""
        number = torch.float16 if self.dtype == "int8" else getattr(torch, self.dtype)
        found = {self._name(_FEATURES, layer): getattr(torch, self.dtype) for layer in self.layers}
        if self.dtype == "int8":
            found |= {self._name(_SCALES, layer): torch.float32 for layer in self.layers}
        if self.classes is not None:
            found[_LOGITS] = number
            if self.top_k:
                is_short = self.classes <= torch.iinfo(torch.int16).max
                found |= {_KEPT: torch.int16 if is_short else torch.int32, _REST: number}
        return found

    def widths(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, int], int | None]:
        """Return the numbers of features by layer, and that of logits, None without logits."""
        features = {name: tensors[self._name(_FEATURES, name)].shape[1] for name in self.layers}
        if self.classes is None or self.top_k:
            return features, self.classes
        return features, tensors[_LOGITS].shape[1]

    def fits(self, tensors: Mapping[str, Tensor], count: int) -> bool:
        """Return whether tensors are ``count`` rows of this layout."""
        ones = {_REST, *(self._name(_SCALES, layer) for layer in self.layers)}
        width = dict.fromkeys(ones, 1) | ({_LOGITS: self.top_k, _KEPT: self.top_k}
                                          if self.top_k else {})  # fmt: skip
        return all(
            name in tensors
            and tensors[name].dtype == dtype
            and tensors[name].ndim == 2
            and tensors[name].shape == (count, width.get(name, tensors[name].shape[1]))
            for name, dtype in self.dtypes.items()
        )

    def has_known_classes(self, tensors: Mapping[str, Tensor]) -> bool:
        """Return whether the classes that are kept of each row are some of the teacher's."""
        kept = tensors.get(_KEPT)
        if kept is None or not kept.numel() or self.classes is None:
            return True
        return int(kept.min()) >= 0 and int(kept.max()) < self.classes

    def row_bytes(self, tensors: Mapping[str, Tensor]) -> int:
        """Return the bytes that a row of such tensors takes in a store, with its check."""
        return _CHECK_BYTES + sum(tensors[n].shape[1] * d.itemsize for n, d in self.dtypes.items())

    def encoded(self, outputs: TeacherOutput) -> dict[str, Tensor]:
        """Return outputs (N rows) as a store holds them, on the CPU.

        Raises:
            ValueError: if a number is not finite in its type.
        """
        found: dict[str, Tensor] = {}
        for layer, part in outputs.features.items():
            if self.dtype == "int8":
                codes, scales = _quantized(part.float())
                found |= {self._name(_FEATURES, layer): codes, self._name(_SCALES, layer): scales}
            else:
                found[self._name(_FEATURES, layer)] = part
        if outputs.logits is not None:
            found |= self._encoded_logits(outputs.logits.float())
        made = {name: found[name].to("cpu", dtype).contiguous() for name, dtype in
                self.dtypes.items()}  # fmt: skip
        for name, part in made.items():
            if not part.isfinite().all():
                kind = str(part.dtype).removeprefix("torch.")
                raise ValueError(f"The teacher's {name} are not finite in {kind}.")
        return made

    def decoded(self, tensors: Mapping[str, Tensor]) -> TeacherOutput:
        """Return what such tensors stand for, in float32, on their device."""
        features = {}
        for layer in self.layers:
            part = tensors[self._name(_FEATURES, layer)].float()
            if self.dtype == "int8":
                part = part * tensors[self._name(_SCALES, layer)]
            features[layer] = part
        if self.classes is None:
            return TeacherOutput(features)
        logits = tensors[_LOGITS].float()
        if self.top_k:
            rest = tensors[_REST].float().expand(-1, self.classes)
            logits = rest.scatter(1, tensors[_KEPT].long(), logits)
        return TeacherOutput(features, logits)

    def kept_mass(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the probability (N,) of the classes that are kept of each row, from 0 to 1."""
        if not self.top_k:
            return torch.ones(len(tensors[self._name(_FEATURES, self.layers[0])]))
        return tensors[_LOGITS].double().exp().sum(1).clamp(max=1.0)

    def _name(self, kind: str, layer: str) -> str:
        return kind if len(self.layers) == 1 else f"{kind}:{layer}"

    def _encoded_logits(self, logits: Tensor) -> dict[str, Tensor]:
        if not self.top_k:
            return {_LOGITS: logits}
        shares = logits.log_softmax(1)
        largest, kept = shares.topk(self.top_k)
        others = shares.scatter(1, kept, -torch.inf).logsumexp(1, keepdim=True)
        rest = others - math.log(logits.shape[1] - self.top_k)
        return {_LOGITS: largest, _KEPT: kept, _REST: rest}


def _quantized(features: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers (N, D) from -127 to 127, and what each row (N, 1) is to be multiplied by."""
    scales = features.abs().amax(1, keepdim=True) / _INT8_LARGEST
    codes = (features / torch.where(scales > 0, scales, 1.0)).round()
    # What is not finite is told by the scales; as a whole number it would be any.
    return codes.nan_to_num(0).clamp(-_INT8_LARGEST, _INT8_LARGEST), scales
