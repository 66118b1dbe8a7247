"""Shards of WebDataset."""

import gzip
import tarfile

from bad_inputs.made import as_folder, every, jpeg, link, pipe, png, tar, text
from bad_inputs.table import Case

_JPEG = jpeg()
_GOOD = (("a.jpg", _JPEG), ("a.cls", b"0"), ("b.jpg", _JPEG), ("b.cls", b"1"),
         ("c.jpg", _JPEG), ("c.cls", b"0"), ("d.jpg", _JPEG), ("d.cls", b"1"))  # fmt: skip


def entry(name, size=0, kind=tarfile.REGTYPE, target=""):
    """The header of an entry that may claim anything."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, target
    return info


def claims(name, size):
    """A shard whose last entry says that it has so many bytes."""
    return entry(name, size).tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def labelled(label):
    return tar(*_GOOD, ("x.jpg", _JPEG), ("x.cls", label))


def case(name, content, *words, code=2):
    make = content if callable(content) else text("data/train-0.tar", content)
    return Case(name, "check --dataset wds --data-path data", words, code, make)


def beside(name, make, *words):
    """Something odd beside a shard that can be read."""
    return case(name, every(text("data/train-0.tar", tar(*_GOOD)), make), *words, code=0)


CASES = [
    case("zero bytes", b"", "train-0.tar", "empty"),
    case("a text", b"hello" * 300, "train-0.tar", "not a shard"),
    case("zeros alone", bytes(10240), "no pictures"),
    case("cut in a header", tar(*_GOOD)[:700], "train-0.tar"),
    case("cut in a picture", tar(*_GOOD)[:600], "train-0.tar"),
    case("no picture", tar(("a.txt", b"x")), "no pictures"),
    case("a class -5", labelled(b"-5"), "x.cls", "-5"),
    case("a class 10^9", labelled(b"1000000000"), "1000000000"),
    case("a class 10^30", labelled(b"1" + b"0" * 30), "class 1000"),
    case("a class of 9999", labelled(b"9999"), "9999", "below"),
    case("a class without text", labelled(b""), "x.cls", "no class"),
    case("a class of spaces", labelled(b" \n "), "x.cls", "no class"),
    case("a class of two lines", labelled(b"1\n2"), "x.cls", "no class"),
    case("a class of bytes", labelled(b"\xff\xfe"), "x.cls", "no class"),
    case("a class of a megabyte", labelled(b"1" * 1_000_000), "x.cls", "no class"),
    case("no class", tar(*_GOOD, ("x.jpg", _JPEG)), "no x.cls"),
    case("two pictures of a key", tar(*_GOOD, ("a.png", png(8, 8))), "two entries"),
    case("two classes of a key", tar(*_GOOD, ("a.cls", b"0")), "two entries"),
    case("a picture that says 2^50 bytes", claims("x.jpg", 2**50), "train-0.tar"),
    case("a class that says 2^50 bytes", claims("x.cls", 2**50), "train-0.tar"),
    case("gzip inside .tar", gzip.compress(tar(*_GOOD)), "gzip", "unpack"),
    case("bzip2 inside .tar", b"BZh9" + bytes(50), "bzip2", "unpack"),
    case("a ZIP inside .tar", b"PK\x03\x04" + bytes(500), "not a shard"),
    case("a class a link outside",
         tar(*_GOOD, ("x.jpg", _JPEG), entry("x.cls", 0, tarfile.SYMTYPE, "/etc/passwd")),
         "no x.cls"),
    case("a picture a link outside",
         tar(*_GOOD, entry("x.jpg", 0, tarfile.SYMTYPE, "/etc/passwd"), ("x.cls", b"0")),
         "links", "x.jpg", code=0),
    case("a picture a device", tar(*_GOOD, entry("x.jpg", 0, tarfile.CHRTYPE), ("x.cls", b"0")),
         "no files", "x.jpg", code=0),
    case("a picture a sparse file",
         tar(*_GOOD, entry("x.jpg", 0, tarfile.GNUTYPE_SPARSE), ("x.cls", b"0")),
         "no files", "x.jpg", code=0),
    case("a folder called train-0.tar", as_folder("data/train-0.tar"), "train-0.tar"),
    case("a pipe called train-0.tar", pipe("data/train-0.tar"), "train-0.tar"),
    case("a link to a device", link("data/train-0.tar", "/dev/zero"), "train-0.tar"),
    case("a dangling link", link("data/train-0.tar", "gone"), "train-0.tar"),
    case("no split named", text("data/x.tar", tar(*_GOOD)), "x.tar", "split"),
    case("no shards", text("data/x.txt", "x"), "no tar files"),
    beside("a pipe beside a shard", pipe("data/train-1.tar"), "train-1.tar"),
    beside("a shard of no split beside", text("data/x.tar", tar(*_GOOD)), "x.tar"),
]  # fmt: skip
