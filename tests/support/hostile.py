"""Files that create a canary where their code is run, in every form that holds pickles."""

import argparse
import io
import pickle
import tarfile
import zipfile

import numpy as np
import torch


class Payload:
    """Opens a file when it is unpickled."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return open, (self.canary, "w")


def _state(**more):
    return {"model": {"weight": torch.zeros(2, 2)}, "epoch": 1} | more


def saved(file, payload):
    torch.save(_state(more=payload), file)


def saved_alone(file, payload):
    torch.save(payload, file)


def raw_legacy(file, payload):
    torch.save(_state(more=payload), file, _use_new_zipfile_serialization=False)


def tar_legacy(file, payload):
    with tarfile.open(file, "w") as tar:
        for name in ("sys_info", "storages", "tensors", "pickle"):
            content = pickle.dumps(payload, protocol=2)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def plain_pickle(file, payload):
    file.write_bytes(pickle.dumps(payload))


def in_flags(file, payload):
    torch.save(_state(args=argparse.Namespace(lr=1.0, more=payload)), file)


def in_an_optimizer(file, payload):
    state = {"state": {0: {"exp_avg": payload}}, "param_groups": [{"params": [0]}]}
    torch.save(_state(optimizer=state), file)


def in_an_array(file, payload):
    torch.save({"model": {"weight": np.array([payload], dtype=object)}}, file)


def in_an_inner_file(file, payload):
    inner = io.BytesIO()
    torch.save(_state(more=payload), inner)
    with zipfile.ZipFile(file, "w") as outer:
        outer.writestr("archive/data.pkl", pickle.dumps(payload, protocol=2))
        outer.writestr("archive/data/0", inner.getvalue())
        outer.writestr("archive/version", "3\n")


def script(file, payload):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("archive/extra.pkl", pickle.dumps(payload, protocol=2))


def npy(file, payload):
    with file.open("wb") as opened:
        np.save(opened, np.array([payload], dtype=object), allow_pickle=True)


def npz(file, payload):
    with file.open("wb") as opened:
        np.savez(opened, weight=np.array([payload], dtype=object))


def joblib_file(file, payload):
    import joblib

    joblib.dump(payload, file)


def yaml_tag(file, payload):
    file.write_text(f"task: !!python/object/apply:builtins.open [{payload.canary}, w]\n")


def _unpickled(file):
    with file.open("rb") as opened:
        pickle.load(opened)


def _trusting(file):
    torch.load(file, weights_only=False)


def _array(file):
    found = np.load(file, allow_pickle=True)
    found["weight"] if file.suffix == ".npz" else found


def _yaml(file):
    import yaml

    yaml.unsafe_load(file.read_text())


def _joblib(file):
    import joblib

    joblib.load(file)


def _extra(file):
    with zipfile.ZipFile(file) as archive:
        pickle.loads(archive.read("archive/extra.pkl"))


# Each form, and what runs its code: the proof that it is loaded.
FORMS = {
    "saved": (saved, _trusting),
    "saved alone": (saved_alone, _trusting),
    "legacy, raw": (raw_legacy, _trusting),
    "legacy, tar": (tar_legacy, _trusting),
    "pickle": (plain_pickle, _unpickled),
    "in flags": (in_flags, _trusting),
    "in an optimiser's state": (in_an_optimizer, _trusting),
    "in an array of objects": (in_an_array, _trusting),
    "around another file": (in_an_inner_file, _trusting),
    "TorchScript": (script, _extra),
    "npy": (npy, _array),
    "npz": (npz, _array),
    "joblib": (joblib_file, _joblib),
    "YAML tag": (yaml_tag, _yaml),
}
