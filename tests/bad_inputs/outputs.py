"""Places where nothing new can be made, for every command that writes."""

from functools import partial

from bad_inputs.table import Case

WRITERS = {
    "train": ("train digits --teacher-checkpoint teacher --output", ""),
    "train a GAN": (
        "train gan-digits --teacher-checkpoint teacher --extractor-checkpoint teacher --output", ""
    ),
    "cache": ("cache digits --teacher-checkpoint teacher --output", ""),
    "compare": ("compare digits --methods vkd,none --teacher-checkpoint teacher --output", ""),
    "demo": ("demo --output", ""),
    "demo of embedding": ("demo embedding --output", ""),
    "publish": ("publish --checkpoint student --output", ""),
    "convert": ("convert student/model.safetensors", ".safetensors"),
    "export": ("export --checkpoint student", ".onnx"),
    "export a program": ("export --checkpoint detector", ".pt2"),
    "report": ("report student --output", ".html"),
    "check": ("check --data-path pictures --output", ".html"),
    "bench": ("bench --checkpoint student --output", ".json"),
    "init": (
        "init --data-path pictures --teacher cnn_digits --student conv_vit_digits --measure false "
        "--output", ".yaml",
    ),
    "predict classes": ("predict --checkpoint student pictures --output", ".jsonl"),
    "predict rows": ("predict --checkpoint student pictures --output", ".csv"),
    "predict boxes": ("predict --checkpoint detector pictures --output", ""),
    "predict a grid": ("predict --checkpoint gan --count 1 --output", ".png"),
    "predict images": ("predict --checkpoint gan --count 1 --output", ""),
    "predict an array": ("predict --checkpoint embedding pictures --output", ".npy"),
    "predict parquet": ("predict --checkpoint embedding pictures --output", ".parquet"),
    "eval": ("eval --checkpoint detector --predictions", ".json"),
    "search": (
        "search --checkpoint embedding --index pictures pictures/0.png --output", ".html"
    ),
    "save an index": (
        "search --checkpoint embedding --index pictures pictures/0.png --save-index", ".npy"
    ),
}  # fmt: skip
NEEDS = ("teacher", "student", "detector", "gan", "embedding", "pictures")


def file_named(name, folder):
    (folder / name).write_text("mine")


def link(name, folder):
    (folder / name).symlink_to("nowhere/at/all")


def _cases():
    for writer, (command, suffix) in WRITERS.items():
        taken = f"taken{suffix}"
        yield Case(
            f"{writer} below a file", f"{command} file/x{suffix}", ("file",),
            make=partial(file_named, "file"), needs=NEEDS,
        )  # fmt: skip
        yield Case(
            f"{writer} over a file", f"{command} {taken}", (taken,),
            make=partial(file_named, taken), needs=NEEDS,
        )  # fmt: skip
        yield Case(f"{writer} in /proc", f"{command} /proc/x{suffix}", ("/proc",), needs=NEEDS)
        yield Case(
            f"{writer} below /dev/null", f"{command} /dev/null/x{suffix}", ("/dev/null",),
            needs=NEEDS,
        )  # fmt: skip
        yield Case(f"{writer} by bytes", f"{command} '\udcff{suffix}'", ("UTF-8",), needs=NEEDS)
        yield Case(
            f"{writer} by 5000 letters", f"{command} {'x' * 5000}{suffix}", ("xxx",), needs=NEEDS
        )
        yield Case(
            f"{writer} by a link to nowhere", f"{command} link{suffix}", (f"link{suffix}",),
            make=partial(link, f"link{suffix}"), needs=NEEDS,
        )  # fmt: skip


CASES = list(_cases())
