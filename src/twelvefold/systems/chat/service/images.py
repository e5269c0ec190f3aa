"""An image in, pixels out: decoded within bounds and written anew.

Invariant: the size is known and judged before a single pixel is decoded; what comes out holds nothing that
was not drawn.
"""

import io
import warnings

import msgspec

from twelvefold.systems.chat.contracts import MediaRefusedError

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
THUMBNAIL_PIXELS = 320
MAX_SIDE = 20_000
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*")


class Picture(msgspec.Struct, frozen=True):
    """What is stored. `thumbnail` is a WebP, or empty."""

    data: bytes
    content_type: str
    width: int
    height: int
    thumbnail: bytes


def is_image(data: bytes) -> bool:
    """Whether these bytes begin as an image that browsers show; what the sender calls them does not matter."""
    return data.startswith(_MAGIC) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def rewrite(data: bytes, max_pixels: int) -> Picture:
    """Decode and write anew; only the first frame of an animation is kept. Raises `MediaRefusedError`."""
    # Pillow is 10 MB and 70 ms that a process without pictures need not spend.
    from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels or max(width, height) > MAX_SIDE:
                    raise MediaRefusedError(
                        f"an image has at most {max_pixels:,} pixels, not {width} x {height}"
                    )
                image.load()
                upright = ImageOps.exif_transpose(image)
                has_alpha = "A" in upright.getbands() or "transparency" in upright.info
                drawn = upright.convert("RGBA" if has_alpha else "RGB")
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
    ) as error:
        raise MediaRefusedError("this image cannot be decoded") from error
    out = io.BytesIO()
    if has_alpha:
        drawn.save(out, "PNG", optimize=False)
        content_type = "image/png"
    else:
        drawn.save(out, "JPEG", quality=88)
        content_type = "image/jpeg"
    size = drawn.size
    drawn.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    small = io.BytesIO()
    drawn.save(small, "WEBP", quality=75)
    return Picture(out.getvalue(), content_type, size[0], size[1], small.getvalue())
