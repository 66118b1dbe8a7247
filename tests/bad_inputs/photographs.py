"""Folders of pictures, as ``vkd check``, training and ``vkd predict`` read them."""

from bad_inputs.made import (
    as_folder,
    every,
    gif_of_many_frames,
    jpeg,
    jpeg_of_size,
    link,
    picture,
    pipe,
    png,
    text,
    text_bomb,
    tiff,
)  # fmt: skip
from bad_inputs.table import Case


def folders(folder):
    """Two classes of three pictures, in train and val."""
    for split in ("train", "val"):
        for number, name in enumerate(("cat", "dog")):
            for index in range(3):
                picture(folder / "data" / split / name / f"{index}.png", colour=50 * (number + 1))


def told(name, change, *words, command="check --data-path data", **more):
    """What is no picture is counted and said, and the others are read."""
    return Case(name, command, words, 0, every(folders, change), **more)


def refused(name, make, *words, command="check --data-path data", **more):
    return Case(name, command, words, make=make, **more)


def strict(name, change, *words):
    """Training without a picture to spare."""
    command = (
        "check --data-path data --max-corrupt 0 --output page.html"  # draws, and so opens, pictures
    )
    return Case(name, command, words, (0, 1), every(folders, change), leaves=("page.html",))


def predicted(name, make, *words):
    return Case(
        f"predict: {name}",
        "predict --checkpoint student x.png",
        words,
        make=make,
        needs=("student",),
    )


CASES = [
    told("a pipe among them", pipe("data/train/cat/x.png"), "1 pipes and devices", "x.png"),
    told("a link to a device", link("data/train/cat/x.png", "/dev/zero"), "pipes and devices"),
    told("a link to its own folder", link("data/train/cat/x", "../cat"), "links to folders"),
    told("a hidden folder", text("data/train/.cache/x.png", b"x"), "hidden files and folders"),
    told("a text among them", text("data/train/cat/x.txt", b"x"), "no picture", ".txt (1)"),
    told("a folder without pictures", as_folder("data/train/owl"), "folders without pictures"),
    told("a picture in no class", text("data/train/x.png", b"x"), "no class folder", "x.png"),
    refused("path gone", lambda f: None, "there is no data"),
    refused("path a file", text("data", "x"), "data is no folder"),
    refused("path a pipe", pipe("data"), "data"),
    refused("path empty", as_folder("data"), "data"),
    refused("folders that are no splits", text("data/cats/x.png", b"x"), "train", "cats"),
    refused("train empty", as_folder("data/train"), "train", "no pictures"),
    refused("train a file", text("data/train", "x"), "data"),
    refused("no class folders", text("data/train/x.png", b"x"), "no class folders"),
    refused(
        "two names of a split",
        every(text("data/val/a/x.png", b"x"), text("data/valid/a/x.png", b"x")),
        "both mean",
    ),
    refused(
        "classes at two depths",
        every(text("data/train/a/x.png", b"x"), text("data/train/b/c/x.png", b"x")),
        "unclear",
    ),
    refused(
        "a class that training has not",
        every(folders, text("data/val/owl/x.png", b"x")),
        "owl",
    ),
    strict("truncated", text("data/train/cat/x.jpg", jpeg()[:200]), "x.jpg"),
    strict("a text called a picture", text("data/train/cat/x.jpg", "hello"), "x.jpg"),
    strict("empty", text("data/train/cat/x.jpg", b""), "x.jpg"),
    predicted("PNG of 30000 x 30000", text("x.png", png(30000, 30000)), "30000 x 30000", "500,000"),
    predicted("PNG of 2^31 - 1 a side", text("x.png", png(2**31 - 1, 2**31 - 1)), "x.png"),
    predicted("PNG with a text bomb", text("x.png", text_bomb()), "x.png", "too large", "TEXT"),
    predicted("JPEG of 65000 x 65000", text("x.png", jpeg_of_size(65000, 65000)), "65000 x 65000"),
    predicted(
        "JPEG of thousands of scans",
        text("x.png", jpeg_of_size(8000, 8000, scans=500)),
        "scans of 8000 x 8000",
        "5,000,000,000",
    ),
    predicted("TIFF of 2^31 - 1 a side", text("x.png", tiff(2**31 - 1, 2**31 - 1)), "pixels"),
    predicted("TIFF without its pixels", text("x.png", tiff(5000, 5000)), "x.png"),
    predicted("JPEG cut", text("x.png", jpeg()[:300]), "x.png is not an image"),
    predicted("a pipe", pipe("x.png"), "x.png", "no file"),
    predicted("a device", link("x.png", "/dev/zero"), "x.png", "no file"),
    predicted("a folder of none", as_folder("x.png"), "holds no pictures"),
    predicted("gone", lambda folder: None, "x.png"),
    predicted("a dangling link", link("x.png", "gone"), "x.png", "link to nothing"),
    predicted("PostScript", text("x.png", "%!PS-Adobe-3.0 EPSF-3.0\n"), "x.png", "not an image"),
    predicted("empty", text("x.png", b""), "x.png", "empty"),
    Case(
        "predict: a pipe in a folder",
        "predict --checkpoint student some",
        ("1 pipes and devices",),
        0,
        every(lambda folder: picture(folder / "some" / "a.png"), pipe("some/b.png")),
        needs=("student",),
    ),
    Case(
        "predict: a GIF of two thousand frames among pictures",
        "predict --checkpoint student some",
        ("no picture",),
        0,
        every(text("some/a.gif", gif_of_many_frames()), text("some/b.txt", "x")),
        needs=("student",),
    ),
]
