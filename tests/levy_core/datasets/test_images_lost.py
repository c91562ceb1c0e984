"""What reading leaves out of a picture, pages and bits, is told of every image that it is true of, and of no other."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from levy_core.datasets.images.pictures import open_picture
from levy_core.datasets.images.sources import open_source
from levy_core.datasets.starter import write_digits
from tasks.kinds.images.data import prepare
from tasks.kinds.images.settings import ImageSettings

SIZE = (5, 6)


def frames(number, seed=0):
    return [
        Image.fromarray(p) for p in np.random.default_rng(seed).integers(0, 256, (number, *SIZE, 3), dtype=np.uint8)
    ]


def saved(form, number, **options):
    first, *rest = frames(number)
    stream = io.BytesIO()
    first.save(stream, form, **({"save_all": True, "append_images": rest} if rest else {}), **options)
    return stream.getvalue()


def deep_values():
    return np.random.default_rng(1).integers(0, 2**16, (*SIZE, 3))


def png_of_16_bits():
    """As the PNG specification (W3C) says; Pillow writes none."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep_values())
    header = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def tiff_of_16_bits():
    """Little-endian, one strip (TIFF 6.0)."""
    data = deep_values().astype("<u2").tobytes()
    end = 8 + 2 + 12 * 9 + 4
    longs = {256: SIZE[1], 257: SIZE[0], 273: end + 6, 278: SIZE[0], 279: len(data)}
    entries = {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in longs.items()}
    entries |= {tag: struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in ((259, 1), (262, 2), (277, 3))}
    entries[258] = struct.pack("<HHII", 258, 3, 3, end)
    table = struct.pack("<H", 9) + b"".join(entries[tag] for tag in sorted(entries)) + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8) + table + struct.pack("<HHH", 16, 16, 16) + data


def ppm_of_16_bits():
    return b"P6 %d %d 65535\n" % (SIZE[1], SIZE[0]) + deep_values().astype(">u2").tobytes()


DEEP = {"x.png": png_of_16_bits, "x.tiff": tiff_of_16_bits, "x.ppm": ppm_of_16_bits}


def losses_of(data):
    told = []
    picture = open_picture(io.BytesIO(data), "x", told.append)
    return told, np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("form", ["GIF", "PNG", "TIFF", "WEBP"])
def test_the_first_of_several_pages_is_read_and_the_others_are_told_of(form):
    options = {"lossless": True} if form == "WEBP" else {}
    told, read = losses_of(saved(form, 3, **options))
    assert told == ["frames"]
    assert np.array_equal(read, np.asarray(frames(1)[0]))
    assert losses_of(saved(form, 1, **options))[0] == []


@pytest.mark.parametrize("write", DEEP.values(), ids=DEEP)
def test_16_bits_are_read_as_their_upper_8_and_told_of(write):
    told, read = losses_of(write())
    assert told == ["depth"]
    assert np.abs(read.astype(int) - deep_values() // 256).max() <= 1  # a PPM's are rounded


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("1", "PNG"),
        ("L", "PNG"),
        ("P", "PNG"),
        ("RGBA", "PNG"),
        ("RGB", "JPEG"),
        ("CMYK", "TIFF"),
        ("RGB", "BMP"),
        ("L", "PPM"),
    ],
)
def test_of_8_bits_and_fewer_nothing_is_lost(mode, form):
    stream = io.BytesIO()
    frames(1)[0].convert(mode).save(stream, form)
    assert losses_of(stream.getvalue())[0] == []


def test_a_bmp_of_16_bits_for_all_channels_loses_nothing():
    info = struct.pack("<IiiHHIIiiII", 40, 6, 5, 1, 16, 0, 0, 0, 0, 0, 0)
    data = b"BM" + struct.pack("<IHHI", 54 + 60, 0, 0, 54) + info + bytes(range(60))
    assert losses_of(data)[0] == []


def test_preparation_says_how_many_images_lost_what_with_an_example(tmp_path, capsys):
    for c in "ab":
        (tmp_path / "raw" / c).mkdir(parents=True)
        for i in range(30):
            frames(1, i)[0].save(tmp_path / "raw" / c / f"{i}.png")
    for name, data in (("a/7.tif", saved("TIFF", 2)), ("b/3.gif", saved("GIF", 2)), ("b/x.png", png_of_16_bits())):
        (tmp_path / "raw" / name).write_bytes(data)
    prepare(tmp_path / "raw", ImageSettings(), tmp_path / "out", "pets")
    first, second = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: pets: ")]
    assert first.startswith("warning: pets: 1 image has more than 8 bits per channel, of which the upper 8 are used")
    assert first.endswith("(for example b/x.png)")
    assert second.startswith("warning: pets: 2 images have several pages or frames, of which the first is used")
    assert second.endswith("(for example a/7.tif)")


def test_nothing_is_lost_of_the_starter_images(tmp_path):
    write_digits(tmp_path / "digits.zip")
    source = open_source(tmp_path)
    source.read(0)
    assert source.lost == {}
