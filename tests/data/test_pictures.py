"""Opening picture files."""

import os
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import Base

from vkd.data import pictures
from vkd.data.pictures import open_picture, picture_size, picture_suffixes
from vkd.errors import UserError

# How each orientation stores the upright picture: its rows and columns.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a, -1),
}


def upright():
    """Blocks of four greys, so that every turn shows, also in lossy formats."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24], pixels[:16, 24:], pixels[16:, :24] = 250, 170, 90
    return pixels


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
def test_pictures_are_turned_as_viewers_show_them(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(np.ascontiguousarray(STORED[orientation](upright()))).save(file, exif=exif)
    found = open_picture(file)
    assert found.size == picture_size(file) == (48, 32)
    assert np.abs(np.asarray(found).astype(int) - upright()).mean() < 3


def test_damaged_metadata_do_not_make_a_picture_unreadable(tmp_path):
    file = tmp_path / "a.jpg"
    Image.fromarray(upright()).save(file, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff broken")
    assert open_picture(file).size == picture_size(file) == (48, 32)


GREY = np.linspace(0, 1, 32 * 48).reshape(32, 48)


@pytest.mark.parametrize(
    "stored",
    [
        (GREY * 65535).astype(np.uint16),
        (GREY * 65535).astype(">u2"),
        (GREY * 65535).astype(np.int32),
        (GREY * 2_000_000_000).astype(np.int32),
        (GREY * 2_000_000_000 - 1_000_000_000).astype(np.int32),
        (GREY * 255).astype(np.int32),
        GREY.astype(np.float32),
        (GREY * 255).astype(np.float32),
        (GREY * 65535).astype(np.float32),
        (GREY * 3000 - 1000).astype(np.float32),
    ],
    ids=lambda array: f"{array.dtype} {array.min():.0f} to {array.max():.0f}",
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_deep_pixels_are_scaled_and_not_clipped(tmp_path, stored, mode):
    file = tmp_path / "a.tif"
    Image.fromarray(stored).save(file)
    found = open_picture(file, mode)
    assert found.mode == mode
    grey = np.asarray(found.convert("L")).astype(float)
    np.testing.assert_allclose(grey, GREY * 255, atol=1.01)


def test_a_range_that_is_guessed_is_said_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(pictures, "_said", [])
    values = (GREY * 3000).astype(np.float32)
    values[0, 0] = np.nan
    for name in ("a", "b"):
        Image.fromarray(values).save(tmp_path / f"{name}.tif")
        open_picture(tmp_path / f"{name}.tif")
    assert caplog.text.count("pixels of 32 bits") == 1
    assert "a.tif" in caplog.text


def converted(mode):
    """The blocks in one of Pillow's modes."""
    picture = Image.fromarray(upright())
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(picture, *profiles, outputMode="LAB")
    if mode.startswith("I;16"):
        order = {"I;16B": ">u2", "I;16N": "=u2"}.get(mode, "<u2")
        values = (upright()[..., 0].astype(np.uint16) * 257).astype(order)
        return Image.frombuffer(mode, (48, 32), values.tobytes(), "raw", mode, 0, 1)
    if mode == "P":
        return picture.convert("P", palette=Image.Palette.ADAPTIVE)
    through = {"PA": "LA", "La": "LA", "RGBa": "RGBA"}.get(mode, "RGB")
    return picture.convert(through).convert(mode)


@pytest.mark.parametrize("mode", sorted(Image.MODES))
@pytest.mark.parametrize("target", ["RGB", "L"])
def test_every_mode_of_pillow_becomes_colours_or_grey(mode, target):
    expected = upright() if target == "RGB" else upright()[..., 0]
    expected = expected.astype(float)
    if mode == "1":
        expected = np.where(expected > 127, 255.0, 0.0)
        image = Image.fromarray(upright()).convert("1", dither=Image.Dither.NONE)
    else:
        image = converted(mode)
    assert image.mode == mode
    found = np.asarray(pictures._converted(image, target, "a")).astype(float)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 3


def test_a_palette_with_transparency_and_an_animation_give_their_first_colours(tmp_path):
    frames = [Image.fromarray(np.full((8, 8, 3), grey, np.uint8)) for grey in (200, 20)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], transparency=0)
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    for name in ("a.gif", "a.png", "a.webp"):
        found = np.asarray(open_picture(tmp_path / name))
        assert found.shape == (8, 8, 3)
        assert abs(int(found[0, 0, 0]) - 200) < 3


def test_a_very_large_picture_is_a_picture_and_a_bomb_is_none(tmp_path):
    Image.new("1", (14000, 13000), 1).save(tmp_path / "large.png")
    before = Image.MAX_IMAGE_PIXELS
    found = open_picture(tmp_path / "large.png", "L")
    assert found.size == (14000, 13000)
    assert found.getpixel((13999, 12999)) == 255
    assert before == Image.MAX_IMAGE_PIXELS
    Image.new("1", (30000, 30000)).save(tmp_path / "bomb.png")
    with pytest.raises(UserError, match="30000 x 30000 pixels, more than the 500,000,000"):
        open_picture(tmp_path / "bomb.png")


def text_bomb(file):
    """A PNG whose text chunk would take 80 million bytes."""
    Image.new("L", (8, 8)).save(file)
    content = file.read_bytes()
    text = b"zTXt" + b"a\0\0" + zlib.compress(bytes(80_000_000))
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    file.write_bytes(content[:33] + chunk + content[33:])


BAD = {
    "empty": (lambda f: f.write_bytes(b""), "is empty"),
    "text": (lambda f: f.write_text("hello"), "is not an image"),
    "truncated": (
        lambda f: (Image.fromarray(upright()).save(f), f.write_bytes(f.read_bytes()[:100])),
        "truncated",
    ),
    "link": (lambda f: f.symlink_to("nowhere"), "a link to nothing"),
    "pipe": (os.mkfifo, "no file"),
    "folder": (lambda f: f.mkdir(), "a folder"),
    "text bomb": (text_bomb, "MAX_TEXT_CHUNK"),
    "PostScript": (lambda f: f.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "is not an image"),
    "absent": (lambda f: None, "There is no image"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_read_is_one_sentence_with_its_name(tmp_path, kind):
    make, message = BAD[kind]
    file = tmp_path / "a.png"
    make(file)
    with pytest.raises(UserError, match=message) as error:
        open_picture(file)
    assert str(file) in str(error.value)
    assert len(str(error.value)) < 300 + len(str(file))
    assert "\n" not in str(error.value)


def test_bytes_are_opened_like_files_and_named(tmp_path):
    buffer = BytesIO()
    Image.fromarray(upright()).save(buffer, "PNG")
    np.testing.assert_array_equal(np.asarray(open_picture(BytesIO(buffer.getvalue()))), upright())
    with pytest.raises(UserError, match="shard 3 at byte 5"):
        open_picture(BytesIO(b"no picture"), name="shard 3 at byte 5")


def test_suffixes_are_those_that_pillow_reads():
    known = picture_suffixes()
    assert {".jpg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".avif", ".jp2", ".gif"} <= known
    assert not {".eps", ".pdf", ".mpg", ".txt", ".h5"} & known
