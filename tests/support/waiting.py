"""What makes the host of an accelerator wait, found without one: tensors of the meta device stand
for the accelerator's, which have no values that could be read unnoticed."""

from contextlib import ExitStack, nullcontext
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

aten = torch.ops.aten
# Their results' shapes depend on values.
_OF_VALUES = {
    aten.equal.default, aten.nonzero.default, aten.masked_select.default, aten._unique2.default,
    aten.unique_dim.default, aten.unique_consecutive.default, aten.bincount.default,
    aten.repeat_interleave.Tensor,
    # Of these the host reads whether they failed.
    aten._linalg_eigh.default, aten._linalg_svd.default, aten.linalg_cholesky.default,
    aten.linalg_eig.default, aten._linalg_solve_ex.default,
}  # fmt: skip
_INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


class Waits(TorchDispatchMode):
    """Lists in ``found`` what would make the host wait for the accelerator.

    These are values read, shapes that depend on values, copies to the host, of which zeros arrive,
    and copies from the host that it does not go on before.
    """

    def __init__(self):
        super().__init__()
        self.found = []
        self._patches = ExitStack()

    def __enter__(self):
        # Numbers of Python reach an accelerator by a copy that no operator shows.
        for owner, name in ((torch, "tensor"), (torch, "as_tensor"), (Tensor, "new_tensor")):
            self._patches.enter_context(
                patch.object(owner, name, self._noting(getattr(owner, name)))
            )
        # Which the meta device does not know, and has no use for.
        self._patches.enter_context(patch.object(torch, "autocast", _autocast(torch.autocast)))
        return super().__enter__()

    def __exit__(self, *error):
        self._patches.close()
        return super().__exit__(*error)

    def _noting(self, make):
        def noted(*args, **kwargs):
            made = make(*args, **kwargs)
            if made.is_meta:
                self.found.append("a blocking copy from the host")
            return made

        return noted

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given, _ = tree_flatten((args, kwargs))
        tensors = [part for part in given if isinstance(part, Tensor)]
        if any(part.is_meta for part in tensors):
            if func is aten._local_scalar_dense.default:
                self.found.append("a value read")
                return 0
            if func in _OF_VALUES:
                self.found.append(str(func))
            if func in _INDEXING and any(p.dtype in (torch.bool, torch.uint8) for p in tensors[1:]):
                self.found.append(f"{func} by a mask")
            if func is aten._to_copy.default and kwargs.get("device") == torch.device("cpu"):
                self.found.append("a copy to the host")
                dtype = kwargs.get("dtype") or tensors[0].dtype
                return torch.zeros(tensors[0].shape, dtype=dtype)
            if func is aten.copy_.default and not all(part.is_meta for part in tensors):
                self._note_copy(args[0], args[1], args[2:], kwargs)
        elif func is aten._to_copy.default and kwargs.get("device") == torch.device("meta"):
            self.found += ["a blocking copy from the host"] * (not kwargs.get("non_blocking"))
        return func(*args, **kwargs)

    def _note_copy(self, target, source, rest, kwargs):
        if source.is_meta:
            self.found.append("a copy to the host")
        elif source.ndim and not (kwargs.get("non_blocking") or any(rest)):
            self.found.append("a blocking copy from the host")


def _autocast(own):
    return lambda kind, *args, **rest: nullcontext() if kind == "meta" else own(kind, *args, **rest)


def check(step, place, most=0):
    """Assert that a step waits for nothing, but for so many copies to the host on the meta device.

    Args:
        step: a function; it runs once before.
        place: ``cpu`` or ``meta``, where its tensors are.
        most: copies to the host that are allowed.
    """
    with Waits():
        step()
    if place == "cpu":
        assert reads_of(step) == []
    else:
        with Waits() as waits:
            step()
        assert waits.found == ["a copy to the host"] * most


def reads_of(step):
    """The names of operators of a step on the CPU that read a value or pick by one."""
    with torch.profiler.profile() as profile:
        step()
    reading = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select")
    return [event.name for event in profile.events() if event.name in reading]
