"""What a file may be called, and what a browser may be told about it."""

import re
import unicodedata

INLINE = frozenset({"image/jpeg", "image/png", "image/webp"})
"""Only what we wrote ourselves is shown; all else is downloaded."""

_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}")
_BAD = re.compile(r'[\x00-\x1f\x7f"*/:<>?\\|]')


def clean_name(name: str) -> str:
    """A file's name without a path, control characters or anything that a file system trips over."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    cleaned = _BAD.sub("_", last).strip(". ")
    return cleaned[:150] or "file"


def declared_type(content_type: str) -> str:
    """What a sender calls a file, if it is a media type and no image (those are found out); else plain bytes."""
    kind = content_type.partition(";")[0].strip().lower()
    return (
        kind
        if _TYPE.fullmatch(kind) and not kind.startswith(("image/", "text/html"))
        else "application/octet-stream"
    )


def disposition(name: str, content_type: str) -> str:
    """The Content-Disposition header (RFC 6266)."""
    kind = "inline" if content_type in INLINE else "attachment"
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    encoded = "".join(
        c if c.isascii() and (c.isalnum() or c in "._-") else "".join(f"%{b:02X}" for b in c.encode())
        for c in name
    )
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """`(start, end)` of a single-range header, end excluded; None where the whole is meant. Raises `ValueError`."""
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    if start >= size or end <= start:
        raise ValueError(header)
    return start, end
