"""Which format a file is of, by its first bytes: those that are decoded here, and those that are only named.

Formats of plugins are in :mod:`pneumo_cli.data.decoders`.
"""

from __future__ import annotations

SUFFIXES = (
    *(".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".tif", ".tiff"),
    *(".bmp", ".webp", ".pgm", ".ppm", ".pbm", ".pnm"),
)
"""Suffixes of the formats that :func:`pneumo_cli.data.decoding.decode` reads itself, in lower case."""

TITLES = ("JPEG", "PNG", "TIFF", "BMP", "WebP", "PGM")
"""Names of these formats, for messages."""

_UNREAD = {
    "GIF": (".gif",),
    "HEIF": (".heic", ".heif"),
    "AVIF": (".avif",),
    "JPEG 2000": (".jp2", ".j2k", ".jpf", ".jpx"),
    "JPEG XL": (".jxl",),
    "JPEG-LS": (".jls",),
    "Photoshop": (".psd",),
    "NIfTI": (".nii", ".nii.gz"),
    "NRRD": (".nrrd", ".nhdr"),
    "MetaImage": (".mha", ".mhd"),
    "camera raw": (".dng", ".nef", ".cr2", ".arw", ".raw"),
    "float map": (".pfm",),
    "OpenEXR": (".exr",),
    "NumPy": (".npy", ".npz"),
}
"""Formats that hold images and are not read: their suffixes."""

_UNREAD_MAGIC = (
    (0, b"GIF8", "GIF"),
    (4, b"ftyphei", "HEIF"),
    (4, b"ftyphev", "HEIF"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"jP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (4, b"JXL \r\n\x87\n", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"8BPS", "Photoshop"),
    (344, b"n+1\0", "NIfTI"),
    (344, b"n+2\0", "NIfTI"),
    (0, b"NRRD000", "NRRD"),
    (0, b"\x93NUMPY", "NumPy"),
)
_ARCHIVE_MAGIC = (
    *(b"PK\3\4", b"PK\5\6", b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0"),
    *(b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x28\xb5\x2f\xfd"),
)


def built_in(start: bytes) -> str:
    """Pillow's name of the format of a file that is decoded here; else empty.

    Args:
        start: the whole content, or its first bytes.
    """
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MM*\0", b"II\0*"):
        return "TIFF"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    # The reserved bytes are 0; the header's size is one of those of Windows and OS/2.
    if start[:2] == b"BM" and start[6:10] == bytes(4) and start[15:18] == bytes(3):
        return "BMP"
    if start[:1] == b"P" and start[1:2] in b"123456" and start[2:3] in (b" ", b"\t", b"\n", b"\r", b"#"):
        return "PPM"
    return ""


def unread(start: bytes) -> str:
    """The name of a known format that holds images and is not read, or ``archive``; else empty."""
    for offset, magic, title in _UNREAD_MAGIC:
        if start[offset:].startswith(magic):
            return title
    return "archive" if start.startswith(_ARCHIVE_MAGIC) else ""


def unread_suffix(name: str) -> tuple[str, str]:
    """The suffix, and the format that is not read and that it stands for; empty for other names.

    Args:
        name: of a file, in lower case.
    """
    for title, suffixes in _UNREAD.items():
        for suffix in suffixes:
            if name.endswith(suffix):
                return suffix, title
    return "", ""
