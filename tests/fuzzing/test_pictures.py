"""Picture files of every format that is written here."""

from io import BytesIO
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fuzzing.mutations import damaged
from fuzzing.reading import answer_of, fuzzed
from vkd.data import picture_limits
from vkd.data.pictures import open_picture, picture_size

FORMATS = {
    "JPEG": {"progressive": True}, "PNG": {}, "GIF": {}, "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {}, "BMP": {}, "ICO": {}, "PPM": {}, "TGA": {}, "JPEG2000": {}, "AVIF": {}, "PCX": {},
    "DDS": {}, "SGI": {}, "ICNS": {}, "XBM": {}, "QOI": {},
}  # fmt: skip


def encoded(format):
    picture = Image.linear_gradient("L").resize((17, 16))
    picture = picture.convert("1" if format == "XBM" else "RGB")
    buffer = BytesIO()
    try:
        picture.save(buffer, format, **FORMATS[format])
    except (KeyError, OSError):
        pytest.skip(f"Pillow writes no {format} here")
    return buffer.getvalue()


@fuzzed(400)
@given(st.data())
def test_a_picture_is_read_or_refused_in_a_sentence(data):
    valid = VALID[data.draw(st.sampled_from(sorted(VALID)))]
    content = data.draw(damaged(valid))
    # A damaged header may claim a size that is allowed, and takes that much memory.
    with patch.object(picture_limits, "MOST_PIXELS", 1_000_000):
        answer_of(lambda: open_picture(BytesIO(content), name="a"))
        answer_of(lambda: picture_size(BytesIO(content), name="a"))


def _valid():
    found = {}
    for format in FORMATS:
        try:
            found[format] = encoded(format)
        except pytest.skip.Exception:
            continue
    return found


VALID = _valid()
