"""Pictures as people have them, read as 8-bit grey or colour."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from levy_core.base.errors import LevyError

# Pillow reads more, and some of it with other programs: an EPS, whatever it is called, is given to Ghostscript.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
IMAGE_SUFFIXES = frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)
GREY, COLOUR = ("1", "L", "LA"), ("P", "RGB", "RGBA", "CMYK", "YCbCr")

# EXIF's orientation, of a camera that was held sideways -> the turn that makes it upright. Pillow's own function writes all metadata anew,
# and stops at odd ones that nobody asked for.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# Formats of which a file may hold several pictures that are meant; not a JPEG's previews.
FRAMED = ("GIF", "PNG", "TIFF", "WEBP")
# What reading leaves out of a picture, for people: with how to keep it.
LOSSES = {
    "frames": "several pages or frames, of which the first is used: make a file of each if the others are meant",
    "depth": "more than 8 bits per channel, of which the upper 8 are used: scale them to 8 bits first if their values fill only the lower ones",
}


def open_picture(file: Path | BytesIO, name: str, tell: Callable[[str], None] = lambda loss: None) -> Image.Image:
    """The upright picture in a file, in a mode of ``GREY`` or ``COLOUR``.

    Args:
        name: the file's, for messages. tell: is called with each of ``LOSSES`` that the picture suffers.

    Raises:
        LevyError: no picture of ``FORMATS``, a damaged or huge one, or one of more than 8 bits per channel.
    """
    try:
        with Image.open(file, formats=FORMATS) as opened:
            losses = _find_losses(opened)
            opened.load()  # which turns a TIFF, and takes its orientation away
            turn = TURNS.get(opened.getexif().get(ExifTags.Base.Orientation, 1))
            picture = opened if turn is None else opened.transpose(turn)
    except (
        UnidentifiedImageError,
        OSError,
        EOFError,
        SyntaxError,
        ValueError,
        TypeError,
        Image.DecompressionBombError,
    ) as error:
        why = "its bytes are no picture's" if isinstance(error, UnidentifiedImageError) else error
        raise LevyError(
            f"{name} is not a readable image ({why}): replace it by one of {', '.join(FORMATS)}, or remove it"
        ) from error
    if picture.mode not in (*GREY, *COLOUR):
        raise LevyError(
            f"{name} has pixel mode {picture.mode!r}: 8-bit grey or colour is expected, so convert it first"
        )
    for loss in losses:
        tell(loss)
    return picture


def _find_losses(opened: Image.Image) -> list[str]:
    """Of a picture that is not loaded yet. Pillow reads colours of 16 bits as 8, and refuses nothing of it."""
    losses = ["frames"] if opened.format in FRAMED and getattr(opened, "is_animated", False) else []
    tiles = getattr(opened, "tile", [])  # how Pillow decodes: a name of the bytes' order, alone or with more
    args = tiles[0].args if tiles else ""
    raw_mode, *rest = args if isinstance(args, tuple) else (args,)
    deep = {
        "PPM": any(type(largest) is int and largest > 255 for largest in rest),
        "PNG": ";16" in str(raw_mode),
        "TIFF": ";16" in str(raw_mode),  # in a BMP it is 16 bits for all channels
    }
    return losses + (["depth"] if deep.get(str(opened.format)) else [])
