"""IDX files of Fashion-MNIST."""

import gzip

from bad_inputs.made import as_folder, every, idx, in_place_of, link, pipe, text, without
from bad_inputs.table import Case

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
_VALID = every(
    text(IMAGES, idx((20, 8, 8))),
    text(LABELS, idx((20,))),
    text(TEST_IMAGES, idx((20, 8, 8))),
    text(TEST_LABELS, idx((20,))),
)


def case(name, change, *words, **more):
    return Case(
        name,
        "train fashion-mnist --data-path . --output run --device cpu",
        words,
        make=every(_VALID, change),
        **more,
    )


CASES = [
    case("images empty", text(IMAGES, b""), IMAGES, "not an IDX file"),
    case("images a text", text(IMAGES, "hello, this is no image"), "not an IDX file"),
    case("header cut", text(IMAGES, idx((20, 8, 8))[:9]), "not an IDX file"),
    case("pixels cut", text(IMAGES, idx((20, 8, 8))[:-100]), "1,280", "too short"),
    case("pixels beyond the end", text(IMAGES, idx((20, 8, 8)) + b"x"), "1,280", "more"),
    case("floats", text(IMAGES, idx((20, 8, 8), kind=13)), "unsigned bytes"),
    case("two dimensions", text(IMAGES, idx((20, 64))), "3-dimensional"),
    case("product overflows", text(IMAGES, idx((2**31, 2**31, 4), b"")), "too short"),
    case("sides of 2^32 - 1", text(IMAGES, idx((2**32 - 1,) * 3, b"x")), "too short"),
    case("no images", text(IMAGES, idx((0, 8, 8))), "holds nothing"),
    case("images of 0 x 0", text(IMAGES, idx((20, 0, 0))), "holds nothing", "(20, 0, 0)"),
    case("one image", every(text(IMAGES, idx((1, 8, 8))), text(LABELS, idx((1,)))), "two or more"),
    case("labels of 10", text(LABELS, idx((20,), bytes([10] * 20))), "10", "below 10"),
    case("labels of 255", text(TEST_LABELS, idx((20,), bytes([255] * 20))), "t10k", "255"),
    case("fewer labels", text(LABELS, idx((19,))), "20 train images", "19 labels"),
    case("labels are images", text(LABELS, idx((20, 8, 8))), LABELS, "1-dimensional"),
    case("all black", text(IMAGES, idx((20, 8, 8), bytes(1280))), "one and the same grey"),
    case("test of another size", text(TEST_IMAGES, idx((20, 9, 9))), "8 x 8", "9 x 9"),
    case("images a folder", in_place_of(IMAGES, as_folder(IMAGES)), "There is no", IMAGES),
    case("images a pipe", in_place_of(IMAGES, pipe(IMAGES)), "There is no", IMAGES),
    case("images a dangling link", in_place_of(IMAGES, link(IMAGES, "gone")), "There is no"),
    case("images a device", in_place_of(IMAGES, link(IMAGES, "/dev/zero")), "There is no"),
    case("test labels gone", without(TEST_LABELS), "There is no", TEST_LABELS),
    case("gzip of a text", in_place_of(IMAGES, text(f"{IMAGES}.gz", "hello")), "as a gzip file"),
    case(
        "gzip cut",
        in_place_of(IMAGES, text(f"{IMAGES}.gz", gzip.compress(idx((20, 8, 8)))[:-20])),
        "as a gzip file",
    ),
    case(
        "gzip that holds more than it says",
        in_place_of(
            IMAGES, text(f"{IMAGES}.gz", gzip.compress(idx((2, 8, 8), bytes(50_000_000)), 1))
        ),
        "128",
        "more",
    ),
    Case(
        "data path gone",
        "train fashion-mnist --data-path gone --output run --device cpu",
        ("There is no", "gone"),
    ),
    Case(
        "data path a file",
        "train fashion-mnist --data-path f --output run --device cpu",
        ("There is no",),
        make=text("f", "x"),
    ),
]
