"""QR codes of short URLs; drawing one takes about 2 ms, so they are remembered."""

import io
from functools import lru_cache

import segno


@lru_cache(maxsize=1024)
def qr_svg(url: str) -> bytes:
    """An SVG that scales, dark modules on a white ground."""
    out = io.BytesIO()
    segno.make(url, error="m", micro=False).save(
        out, kind="svg", border=2, light="#ffffff", xmldecl=False, svgclass=None
    )
    return out.getvalue()


@lru_cache(maxsize=256)
def qr_png(url: str, scale: int) -> bytes:
    """A PNG with `scale` pixels a module."""
    out = io.BytesIO()
    segno.make(url, error="m", micro=False).save(out, kind="png", border=2, scale=scale)
    return out.getvalue()
