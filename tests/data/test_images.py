"""Reading images: every encoding, every kind of damage, and nothing is silently misread."""

import gzip
import io
import os
import pickle
import socket
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fundus_cli.data import decoding, images
from fundus_cli.data.images import (
    READABLE_SUFFIXES,
    BadFile,
    is_readable_name,
    read_image,
)

H, W = 11, 16  # 48 bytes a row: a BMP needs no padding
RNG = np.random.default_rng(7)
PHOTO = RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)
PHOTO[0, 0], PHOTO[0, 1] = 0, 255
GREY = PHOTO[..., 0]
GREY_RGB = np.repeat(GREY[..., None], 3, axis=2)
FEW = Image.fromarray(PHOTO).quantize(200)
FEW_RGB = np.array(FEW.convert("RGB"))


def encoded(array: np.ndarray | Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(stream, form, **options)
    return stream.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(array: np.ndarray, bits: int, colour_type: int, before: bytes = b"") -> bytes:
    """A PNG with the samples as they are, most significant byte first."""
    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(f">u{max(bits, 8) // 8}").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def tiff(
    array: np.ndarray,
    photometric: int,
    *,
    order: str = "<",
    apart: bool = False,
    deflate: bool = False,
    extra: dict[int, tuple[str, list[int]]] | None = None,
) -> bytes:
    """A TIFF of any sample type; `apart`: a plane per channel; `extra`: tag -> (H or I, values)."""
    height, width = array.shape[:2]
    samples = array.shape[2] if array.ndim == 3 else 1
    planes = [array[..., k] for k in range(samples)] if apart else [array]
    data = [plane.astype(array.dtype.newbyteorder(order)).tobytes() for plane in planes]
    data = [zlib.compress(plane) for plane in data] if deflate else data
    out = bytearray(b"II*\0\0\0\0\0" if order == "<" else b"MM\0*\0\0\0\0")
    offsets = []
    for plane in data:
        offsets.append(len(out))
        out += plane + bytes(len(plane) % 2)
    tags = {
        256: ("H", [width]),
        257: ("H", [height]),
        258: ("H", [8 * array.dtype.itemsize] * samples),
        259: ("H", [8 if deflate else 1]),
        262: ("H", [photometric]),
        273: ("I", offsets),
        277: ("H", [samples]),
        278: ("H", [height]),
        279: ("I", [len(plane) for plane in data]),
        284: ("H", [2 if apart else 1]),
        339: ("H", [{"u": 1, "i": 2, "f": 3}[array.dtype.kind]] * samples),
        **(extra or {}),
    }
    rows = b""
    for tag, (code, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(packed) > 4:
            out += packed
            packed = struct.pack(order + "I", len(out) - len(packed))
        rows += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[code], len(values))
        rows += packed.ljust(4, b"\0")
    struct.pack_into(order + "I", out, 4, len(out))
    return bytes(out) + struct.pack(order + "H", len(tags)) + rows + bytes(4)


@pytest.fixture
def file(tmp_path: Path):
    """Write bytes under a name and return the path."""

    def write(content: bytes, name: str = "x.png") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def refusal(path: Path, megapixels: float = 1) -> BadFile:
    with pytest.raises(BadFile) as caught:
        read_image(path, megapixels)
    return caught.value


def rgba(alpha: int) -> np.ndarray:
    return np.dstack([PHOTO, np.full((H, W), alpha, np.uint8)])


WIDE = PHOTO.astype(np.uint16) * 257
WIDE_GREY = GREY.astype(np.uint16) * 257
UNIT = (GREY / 255).astype(np.float32)
CMYK = Image.fromarray(PHOTO).convert("CMYK")
PROFILE = {"icc_profile": b"not a profile, and never read"}

ENCODINGS = {
    "rgb png": (encoded(PHOTO, "PNG", **PROFILE), PHOTO),
    "rgb tiff": (encoded(PHOTO, "TIFF", **PROFILE), PHOTO),
    "rgb tiff lzw": (encoded(PHOTO, "TIFF", compression="tiff_lzw"), PHOTO),
    "rgb tiff planes": (tiff(PHOTO, 2, apart=True), PHOTO),
    "rgb tiff big-endian": (tiff(PHOTO, 2, order=">", deflate=True), PHOTO),
    "rgb bmp": (encoded(PHOTO, "BMP"), PHOTO),
    "rgb ppm": (encoded(PHOTO, "PPM"), PHOTO),
    "rgb ppm gz": (gzip.compress(encoded(PHOTO, "PPM")), PHOTO),
    "rgb ppm of 4095": (
        b"P6 2 1 4095\n" + struct.pack(">6H", 0, 16, 4095, 2048, 0, 4095),
        np.array([[[0, 1, 255], [128, 0, 255]]], np.uint8),
    ),
    "rgba opaque": (encoded(rgba(255), "PNG"), PHOTO),
    "rgba opaque tiff": (encoded(rgba(255), "TIFF"), PHOTO),
    "rgba 16 opaque": (png(rgba(255).astype(np.uint16) * 257, 16, 6), PHOTO),
    "la opaque": (encoded(np.dstack([GREY, np.full_like(GREY, 255)]), "PNG"), GREY_RGB),
    "grey png": (encoded(GREY, "PNG"), GREY_RGB),
    "grey tiff": (encoded(GREY, "TIFF"), GREY_RGB),
    "grey tiff, white is 0": (tiff(255 - GREY, 0), GREY_RGB),
    "grey pgm": (encoded(GREY, "PPM"), GREY_RGB),
    "palette png": (encoded(FEW, "PNG"), FEW_RGB),
    "palette gif": (encoded(FEW, "GIF"), FEW_RGB),
    "palette bmp": (encoded(FEW, "BMP"), FEW_RGB),
    "palette tiff": (encoded(FEW, "TIFF"), FEW_RGB),
    "palette tiff of 8 bits": (
        tiff(GREY, 3, extra={320: ("H", [*range(256), *range(256), *range(255, -1, -1)])}),
        np.dstack([GREY, GREY, 255 - GREY]),
    ),
    "palette png, transparent colour unused": (
        encoded(Image.fromarray(PHOTO).quantize(200), "PNG", transparency=255),
        FEW_RGB,
    ),
    "cmyk tiff": (encoded(CMYK, "TIFF"), PHOTO),
    "rgb16 png": (png(WIDE, 16, 2), PHOTO),
    "rgb16 png x256": (png(PHOTO.astype(np.uint16) << 8, 16, 2), PHOTO),
    "rgb16 tiff": (tiff(WIDE, 2), PHOTO),
    "rgb16 tiff big-endian": (tiff(WIDE, 2, order=">"), PHOTO),
    "rgb16 tiff deflate": (tiff(WIDE, 2, deflate=True), PHOTO),
    "rgb16 tiff deflate planes": (tiff(WIDE, 2, deflate=True, apart=True, order=">"), PHOTO),
    "rgb16 ppm": (b"P6 16 11 65535\n" + WIDE.astype(">u2").tobytes(), PHOTO),
    "grey16 png": (encoded(WIDE_GREY, "PNG"), GREY_RGB),
    "grey16 tiff": (tiff(WIDE_GREY, 1), GREY_RGB),
    "grey16 tiff big-endian deflate": (tiff(WIDE_GREY, 1, order=">", deflate=True), GREY_RGB),
    "grey16 pgm": (encoded(Image.fromarray(WIDE_GREY), "PPM"), GREY_RGB),
    "float tiff": (tiff(UNIT, 1), GREY_RGB),
    "float tiff big-endian": (tiff(UNIT, 1, order=">"), GREY_RGB),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_of_an_image_reads_as_the_8_bit_original(name: str, file) -> None:
    content, expected = ENCODINGS[name]
    image = read_image(file(content), 1)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    np.testing.assert_array_equal(image, expected)


def test_sixteen_bits_are_divided_by_257_and_rounded(file) -> None:
    values = np.array([[0, 128, 129, 385, 386, 32767, 32768, 65406, 65407, 65535]], np.uint16)
    expected = np.rint(values / 257)
    image = read_image(file(encoded(values, "PNG")), 1)
    np.testing.assert_array_equal(image[..., 1], expected)
    assert image[0, :5, 0].tolist() == [0, 0, 1, 1, 2]


def test_twelve_packed_bits_are_divided_by_4095(file) -> None:
    packed = np.array([[0x00, 0x0F, 0xFF, 0x80, 0x04, 0x00]], np.uint8)
    path = file(tiff(packed, 1, extra={256: ("H", [4]), 258: ("H", [12])}))
    assert read_image(path, 1)[0, :, 2].tolist() == [0, 255, 128, 64]  # of 0 4095 2048 1024


def test_jpegs_read_as_pillow_decodes_them(file) -> None:
    plain = encoded(PHOTO, "JPEG", quality=90)
    expected = np.array(Image.open(io.BytesIO(plain)))
    np.testing.assert_array_equal(read_image(file(plain, "x.tif"), 1), expected)
    progressive = file(encoded(PHOTO, "JPEG", quality=90, progressive=True))
    np.testing.assert_array_equal(read_image(progressive, 1), expected)
    grey = read_image(file(encoded(GREY, "JPEG", quality=100)), 1)
    assert np.abs(grey.astype(int) - GREY_RGB).max() <= 2
    flat = Image.new("RGB", (16, 16), (200, 60, 30)).convert("CMYK")
    cmyk = read_image(file(encoded(flat, "JPEG", quality=100)), 1)
    assert np.abs(cmyk.astype(int) - (200, 60, 30)).max() <= 2


def test_the_image_of_a_phone_comes_before_its_depth_map(file) -> None:
    small = Image.fromarray(PHOTO[:4, :4])
    both = encoded(PHOTO, "MPO", quality=95, save_all=True, append_images=[small])
    expected = np.array(Image.open(io.BytesIO(encoded(PHOTO, "JPEG", quality=95))))
    np.testing.assert_array_equal(read_image(file(both, "x.jpg"), 1), expected)


@pytest.mark.parametrize(
    ("form", "array", "options"),
    [
        ("WEBP", PHOTO, {"lossless": True}),
        ("WEBP", rgba(255), {"lossless": True}),
        ("JPEG2000", PHOTO, {}),
        ("JPEG2000", GREY, {}),
        ("JPEG2000", GREY.astype(np.uint16) * 257, {}),
    ],
)
def test_newer_formats_read_to_the_bit_under_any_name(
    file, form: str, array: np.ndarray, options: dict[str, bool]
) -> None:
    wanted = GREY_RGB if array.ndim == 2 else PHOTO
    for name in ("x.png", "x.webp"):
        read = read_image(file(encoded(array, form, **options), name), 1)
        np.testing.assert_array_equal(read, wanted)


def test_avif_is_close_and_turned_by_its_exif(file) -> None:
    smooth = np.dstack([np.add.outer(np.arange(40), np.arange(60))] * 3).astype(np.uint8)
    plain = read_image(file(encoded(smooth, "AVIF", quality=95), "x.avif"), 1)
    assert np.abs(plain.astype(int) - smooth).max() <= 6
    for form in ("AVIF", "WEBP"):
        exif = Image.Exif()  # a new one each: Pillow moves the orientation out of it for AVIF
        exif[0x0112] = 6
        turned = read_image(file(encoded(smooth, form, quality=95, exif=exif), "x.webp"), 1)
        assert turned.shape == (60, 40, 3)
        assert np.abs(turned.astype(int) - np.rot90(smooth, -1)).max() <= 12


HALF_CLEAR = rgba(255)
HALF_CLEAR[3:, :, 3] = 254
NOT_A_NUMBER = UNIT.copy()
NOT_A_NUMBER[2, 3] = np.nan
INFINITE = UNIT.copy()
INFINITE[2, 3] = np.inf

UNCLEAR = {
    "1 bit": (encoded(Image.fromarray(GREY).convert("1"), "PNG"), images.BLACK_AND_WHITE),
    "transparent in places": (encoded(HALF_CLEAR, "PNG"), images.TRANSPARENT),
    "clear everywhere": (encoded(rgba(0), "PNG"), images.TRANSPARENT),
    "transparent palette entry": (
        encoded(FEW, "PNG", transparency=int(np.array(FEW)[5, 5])),
        images.TRANSPARENT,
    ),
    "transparent grey": (encoded(GREY, "PNG", transparency=int(GREY[4, 4])), images.TRANSPARENT),
    "transparent 16-bit grey": (
        png(WIDE_GREY, 16, 0, chunk(b"tRNS", struct.pack(">H", WIDE_GREY[4, 4]))),
        images.TRANSPARENT,
    ),
    "transparent 16-bit colour": (
        png(WIDE, 16, 2, chunk(b"tRNS", struct.pack(">3H", *WIDE[4, 4]))),
        decoding.COLOUR_MODE,
    ),
    "8 bits in 16, grey": (encoded(GREY.astype(np.uint16), "PNG"), images.DIM),
    "12 bits in 16, grey": (tiff(GREY.astype(np.uint16) * 16, 1), images.DIM),
    "14 bits in 16, grey": (tiff(GREY.astype(np.uint16) * 64, 1), images.DIM),
    "8 bits in 16, colour": (png(PHOTO.astype(np.uint16), 16, 2), images.DIM),
    "12 bits in 16, colour": (tiff(PHOTO.astype(np.uint16) * 16, 2), images.DIM),
    "8 bits in 16, ppm": (
        b"P6 16 11 65535\n" + PHOTO.astype(">u2").tobytes(),
        images.DIM,
    ),
    "float of 8 bits in 16": (tiff(UNIT / 257, 1), images.DIM),
    "float 0..255": (tiff(GREY.astype(np.float32), 1), images.FLOAT_RANGE),
    "float below 0": (tiff(UNIT - np.float32(0.5), 1), images.FLOAT_RANGE),
    "nan": (tiff(NOT_A_NUMBER, 1), decoding.NOT_FINITE),
    "inf": (tiff(INFINITE, 1), decoding.NOT_FINITE),
    "float colours": (tiff((PHOTO / 255).astype(np.float32), 2), decoding.TIFF_TYPE),
    "double": (tiff((GREY / 255).astype(np.float64), 1), decoding.TIFF_TYPE),
    "half": (tiff((GREY / 255).astype(np.float16), 1), decoding.TIFF_TYPE),
    "zeros and ones": (encoded(PHOTO // 128, "PNG"), images.ZERO_ONE),
    "signed 8 bits": (tiff(GREY.astype(np.int8), 1), images.NO_FULL_SCALE),
    "signed 16 bits": (tiff(GREY.astype(np.int16), 1), images.NO_FULL_SCALE),
    "32 bits": (tiff(GREY.astype(np.uint32), 1), images.NO_FULL_SCALE),
    "lab": (encoded(Image.new("LAB", (4, 4)), "TIFF"), decoding.COLOUR_MODE),
    "cmyk of 16 bits": (tiff(np.array(CMYK).astype(np.uint16), 5), decoding.COLOUR_MODE),
    "16-bit planes": (tiff(WIDE, 2, apart=True), decoding.LAYOUT),
    "float, big-endian, deflate": (tiff(UNIT, 1, order=">", deflate=True), decoding.LAYOUT),
    "white is 0, 16 bits": (tiff(WIDE_GREY, 0), decoding.WHITE_IS_ZERO),
    "white is 0, float": (tiff(UNIT, 0), decoding.WHITE_IS_ZERO),
    "two pages": (
        encoded(PHOTO, "TIFF", save_all=True, append_images=[Image.fromarray(PHOTO)]),
        decoding.FRAMES,
    ),
    "animated gif": (
        encoded(GREY, "GIF", save_all=True, append_images=[Image.fromarray(255 - GREY)]),
        decoding.FRAMES,
    ),
    "animated png": (
        encoded(GREY, "PNG", save_all=True, append_images=[Image.fromarray(255 - GREY)]),
        decoding.FRAMES,
    ),
    "two-frame webp": (
        encoded(PHOTO, "WEBP", save_all=True, append_images=[Image.fromarray(PHOTO[::-1])]),
        decoding.FRAMES,
    ),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_values_of_unclear_meaning_are_refused(name: str, file) -> None:
    content, kind = UNCLEAR[name]
    assert refusal(file(content)).kind == kind


def test_what_pillow_alone_would_make_of_them() -> None:
    """Why the refusals above exist: without them these arrive wrong and without an error."""

    def pillow(content: bytes) -> np.ndarray:
        return np.array(Image.open(io.BytesIO(content)).convert("RGB"))

    assert pillow(png(PHOTO.astype(np.uint16), 16, 2)).max() == 0
    assert np.abs(pillow(tiff(WIDE, 2, apart=True)).astype(int) - PHOTO).max() > 100
    swapped = np.array(Image.open(io.BytesIO(tiff(UNIT, 1, order=">", deflate=True))))
    assert not np.allclose(swapped, UNIT, atol=0.1)
    assert pillow(ENCODINGS["palette tiff of 8 bits"][0]).max() == 0


def test_the_value_found_is_reported(file) -> None:
    assert refusal(file(UNCLEAR["float 0..255"][0])).found == "0..255"
    assert refusal(file(encoded(rgba(7), "PNG"))).found == "lowest alpha 7"
    dim = refusal(file(UNCLEAR["12 bits in 16, grey"][0]))
    assert dim.found == "brightest value 4080 of 65535"
    assert str(dim) == f"{images.DIM} [brightest value 4080 of 65535]"
    assert str(refusal(file(b""))) == decoding.EMPTY


# Orientation


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF 2.32, tag 0x0112: 3 must be rotated by 180 degrees, 6 by 90 degrees clockwise."""
    return {1: stored, 3: stored[::-1, ::-1], 6: np.rot90(stored, -1)}[orientation]


def with_late_exif(orientation: int) -> bytes:
    """A PNG whose EXIF follows the pixels."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(PHOTO, "PNG")
    end = content.rindex(chunk(b"IEND", b""))
    return content[:end] + chunk(b"eXIf", exif.tobytes()[6:]) + content[end:]


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "PNG with late EXIF"])
def test_orientation_is_applied(form: str, orientation: int, file) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    if form == "PNG with late EXIF":
        path = file(with_late_exif(orientation))
        stored = PHOTO
    else:
        path = file(encoded(PHOTO, form, exif=exif))
        plain = encoded(PHOTO, form)
        stored = np.array(Image.open(io.BytesIO(plain)))
    expected = upright(stored, orientation)
    np.testing.assert_array_equal(read_image(path, 1), expected)
    assert expected.shape[:2] == ((W, H) if orientation == 6 else (H, W))


def test_orientation_in_xmp_counts_too_and_nonsense_does_not(file) -> None:
    xmp = b'<x tiff:Orientation="6"/>'
    path = file(encoded(PHOTO, "TIFF", tiffinfo={700: xmp}))
    np.testing.assert_array_equal(read_image(path, 1), np.rot90(PHOTO, -1))
    exif = Image.Exif()
    exif[0x0112] = 9
    np.testing.assert_array_equal(read_image(file(encoded(PHOTO, "PNG", exif=exif)), 1), PHOTO)


# Damage


FORMS = {
    "PNG": encoded(PHOTO, "PNG"),
    "JPEG": encoded(PHOTO, "JPEG"),
    "JPEG progressive": encoded(PHOTO, "JPEG", progressive=True),
    "GIF": encoded(FEW, "GIF"),
    "TIFF": encoded(PHOTO, "TIFF"),
    "TIFF lzw": encoded(PHOTO, "TIFF", compression="tiff_lzw"),
    "TIFF deflate": encoded(PHOTO, "TIFF", compression="tiff_adobe_deflate"),
    "BMP": encoded(PHOTO, "BMP"),
    "PPM": encoded(PHOTO, "PPM"),
    "PPM gz": gzip.compress(encoded(PHOTO, "PPM")),
    "PNG 16": encoded(WIDE_GREY, "PNG"),
    "TIFF float": tiff(UNIT, 1),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_cut_short_is_refused(form: str, file) -> None:
    whole = FORMS[form]
    assert refusal(file(b"")).kind == decoding.EMPTY
    for share in (0.1, 0.5, 0.9):
        assert refusal(file(whole[: int(share * len(whole))])).kind == decoding.UNREADABLE, share


@pytest.mark.parametrize("form", FORMS)
def test_a_file_without_its_last_byte_is_refused_or_has_the_same_pixels(form: str, file) -> None:
    original = read_image(file(FORMS[form]), 1)
    path = file(FORMS[form][:-1])
    if form.split()[0] in ("PNG", "GIF") or form == "TIFF float":  # end marks and an offset of zero
        np.testing.assert_array_equal(read_image(path, 1), original)
    else:
        assert refusal(path).kind == decoding.UNREADABLE


def test_files_that_are_not_images_are_distinguished(file) -> None:
    assert refusal(file(b"\xef\xbb\xbf \n<!DOCTYPE html><p>404")).kind == decoding.MARKUP
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    assert refusal(file(pointer)).kind == decoding.LFS_POINTER
    assert refusal(file(b"hello")).kind == decoding.UNREADABLE
    assert refusal(file(gzip.compress(FORMS["PNG"]), "x.ppm.gz")).kind == decoding.UNREADABLE


def psd() -> bytes:
    return struct.pack(">4sH6xHIIHH12xH", b"8BPS", 1, 3, H, W, 8, 3, 0) + PHOTO.tobytes()


def fits() -> bytes:
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8"]
    cards += ["NAXIS   =                    2", f"NAXIS1  = {W:20}", f"NAXIS2  = {H:20}", "END"]
    return "".join(card.ljust(80) for card in cards).ljust(2880).encode() + GREY.tobytes()


FOREIGN = {
    "PSD": psd(),
    "FITS": fits(),
    "EPS": encoded(PHOTO, "EPS"),
    "PDF": encoded(PHOTO, "PDF"),
    "ICNS": encoded(Image.new("RGB", (16, 16)), "ICNS"),
    "WMF": struct.pack("<IHhhhhHIH", 0x9AC6CDD7, 0, 0, 0, 100, 100, 72, 0, 0) + b"\1\0\t\0" * 9,
    "ICO": encoded(Image.new("RGB", (16, 16)), "ICO"),
    "TGA": encoded(PHOTO, "TGA"),
}


@pytest.mark.parametrize("form", FOREIGN)
def test_other_formats_are_refused_under_any_name(form: str, file) -> None:
    for name in ("x.png", "x.tif"):
        error = refusal(file(FOREIGN[form], name))
        assert (error.kind, error.found) == (decoding.UNREADABLE, "")


def test_the_foreign_files_are_real() -> None:
    for form in FOREIGN.keys() - {"PDF"}:
        assert Image.open(io.BytesIO(FOREIGN[form])).format == form


@pytest.mark.timeout(10)
def test_pipes_folders_and_links_do_not_hang(tmp_path: Path, file) -> None:
    pipe, folder, plug = tmp_path / "pipe.png", tmp_path / "folder.png", tmp_path / "plug.png"
    os.mkfifo(pipe)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(tmp_path)  # a socket's path may have only about 100 bytes
        try:
            server.bind(plug.name)
        finally:
            os.chdir(here)
        for path in (pipe, folder, plug, Path(os.devnull)):
            assert refusal(path).kind == decoding.NOT_A_FILE
    for name, target in (("self.png", "self.png"), ("broken.png", "nowhere.png")):
        (tmp_path / name).symlink_to(target)
        assert refusal(tmp_path / name).kind == decoding.CANNOT_OPEN
    assert refusal(tmp_path / "absent.png").found == "No such file or directory"
    (tmp_path / "link.png").symlink_to(file(FORMS["PNG"], "real.png"))
    np.testing.assert_array_equal(read_image(tmp_path / "link.png", 1), PHOTO)


def test_a_file_without_permission_is_refused(file, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(FORMS["PNG"])

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)  # root may read what chmod 000 forbids
    assert (refusal(path).kind, refusal(path).found) == (decoding.CANNOT_OPEN, "Permission denied")


# Size limits


def big_png(side: int) -> bytes:
    """A 1-bit PNG of side x side zeros: a few kilobytes."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    data = packer.compress(row * side) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.timeout(20)
def test_a_bomb_is_refused_before_it_is_decoded(file, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = file(big_png(13500))
    assert bomb.stat().st_size < 100_000

    def decoded(*_: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load_prepare", decoded)
    limit = Image.MAX_IMAGE_PIXELS
    error = refusal(bomb, 80)
    assert (error.kind, error.found) == (decoding.TOO_LARGE, "more than 179 megapixels")
    error = refusal(file(big_png(9500)), 80)  # where Pillow warns
    assert (error.kind, error.found) == (decoding.TOO_LARGE, "9500x9500")
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_larger_limit_lets_larger_images_in(file, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    for side, megapixels in ((9500, 100), (13500, 182.25)):
        with decoding.opened(file(big_png(side)), megapixels) as image:
            assert image.size == (side, side)
    assert refusal(file(big_png(13500)), 182.2).found == "13500x13500"


def test_the_limit_is_inclusive_and_in_millions_of_pixels(file) -> None:
    path = file(FORMS["PNG"])
    assert read_image(path, H * W / 1e6).shape == (H, W, 3)
    assert refusal(path, (H * W - 1) / 1e6).found == "16x11"


def test_gzip_is_unpacked_only_up_to_the_limit(file) -> None:
    zeros = gzip.compress(b"P5 1 1 255\n" + bytes(9_000_000))
    error = refusal(file(zeros, "x.ppm.gz"), 1)
    assert (error.kind, error.found) == (decoding.TOO_LARGE, "more than 8 MB in a gzip file")
    with decoding.opened(file(zeros, "x.ppm.gz"), 2) as image:
        assert image.size == (1, 1)


# Pillow's warnings and errors


def test_pillows_warnings_are_neither_printed_nor_raised(file) -> None:
    odd = encoded(PHOTO, "TIFF", tiffinfo={305: "a program with quite a long name"})
    at = odd.index(struct.pack("<HH", 305, 2))
    odd = odd[: at + 4] + struct.pack("<II", 4000, 8) + odd[at + 12 :]
    with pytest.warns(UserWarning, match="larger than file"):
        Image.open(io.BytesIO(odd))
    path = file(odd)
    for action in ("error", "always"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter(action)
            np.testing.assert_array_equal(read_image(path, 1), PHOTO)
        assert not caught


def test_threads_read_the_same(file) -> None:
    paths = [file(FORMS[form], f"{n}.png") for n, form in enumerate(["PNG", "TIFF", "BMP"] * 8)]
    with ThreadPoolExecutor(4) as pool:
        for image in pool.map(lambda path: read_image(path, 1), paths):
            np.testing.assert_array_equal(image, PHOTO)


def test_which_errors_become_bad_file(file, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(FORMS["PNG"])

    def raising(error: BaseException):
        def load(_: object) -> None:
            raise error

        return load

    load = "PIL.PngImagePlugin.PngImageFile.load_prepare"
    errors = [SyntaxError, struct.error, ValueError, OverflowError, EOFError, OSError]
    for error in [*errors, zlib.error, KeyError, AssertionError, RecursionError]:
        monkeypatch.setattr(load, raising(error("broken\n data")))
        assert refusal(path).kind == decoding.UNREADABLE
        assert "broken" in refusal(path).found
    monkeypatch.setattr(load, raising(MemoryError()))
    assert refusal(path).kind == decoding.NO_MEMORY
    for error in (RuntimeError("DataLoader worker exited unexpectedly"), KeyboardInterrupt()):
        monkeypatch.setattr(load, raising(error))
        with pytest.raises(type(error)):
            read_image(path, 1)


def test_bad_file_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(BadFile("a kind", "a value")))
    assert (error.kind, error.found, str(error)) == ("a kind", "a value", "a kind [a value]")
    assert BadFile("a kind").found == ""


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        *((f"a{suffix.upper()}", True) for suffix in READABLE_SUFFIXES),
        *(("a.ppm.gz", True), ("A.PGM.GZ", True), ("a.pbm.gz", True), ("01_dr.JPG", True)),
        *(("a.png.gz", False), ("a.gz", False), ("a.heic", False), ("png", False), ("a", False)),
    ],
)
def test_readable_names(name: str, readable: bool) -> None:
    assert is_readable_name(name) is readable


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "x.png"


@settings(max_examples=300, deadline=None)
@given(
    form=st.sampled_from(sorted(FORMS)),
    edits=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=6)), min_size=1, max_size=6
    ),
)
def test_changed_bytes_give_bad_file_or_a_valid_array(
    form: str, edits: list[tuple[float, int, bytes]], fuzzed: Path
) -> None:
    content = bytearray(FORMS[form])
    for where, removed, inserted in edits:
        at = int(where * len(content))
        content[at : at + removed] = inserted
    fuzzed.write_bytes(content)
    try:
        image = read_image(fuzzed, 0.01)
    except BadFile as error:
        assert error.kind
    else:
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3


# Real images


def test_real_images(real_data: Path) -> None:
    cases = {
        "CHASE_DB1/Image_01L.jpg": (960, 999),
        "CHASE_DB1/Image_14R.jpg": (960, 999),
        "HRF/images/01_dr.JPG": (2336, 3504),
    }
    for name, size in cases.items():
        path = real_data / name
        with Image.open(path) as image:
            assert image.size == size[::-1]
            np.testing.assert_array_equal(read_image(path, 80), np.array(image))
