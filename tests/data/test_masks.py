"""Reading masks: every encoding gives the same 0/1 array, and ambiguous files are refused."""

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fundus_cli.config import MaskChannel
from fundus_cli.data import decoding, masks
from fundus_cli.data.images import BadFile
from fundus_cli.data.masks import MaskRule, read_fov_mask, read_mask
from fundus_cli.errors import ConfigError

H, W = 12, 16
MASK = np.zeros((H, W), np.uint8)
MASK[2:5, 1:9] = 1
MASK[7:, 10:12] = 1
MASK[0, 15] = 1
WHITE = MASK * np.uint8(255)
OPAQUE = np.full((H, W), 255, np.uint8)
VOC_RED = np.dstack([MASK * np.uint8(128), 0 * MASK, 0 * MASK])


def rule(
    threshold: float | None = None,
    foreground: tuple[str, ...] = (),
    channel: MaskChannel = MaskChannel.colour,
) -> MaskRule:
    return MaskRule(channel=channel, threshold=threshold, foreground=foreground)


PLAIN = rule()


def encoded(array: np.ndarray | Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(stream, form, **options)
    return stream.getvalue()


def palette_image(indices: np.ndarray, colours: list[tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8)).convert("L")
    image.putpalette([value for colour in colours for value in colour])
    return image


def png16(array: np.ndarray, colour_type: int) -> bytes:
    """A 16-bit PNG with colours, which Pillow cannot write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def with_8_bit_colour_map(tiff: bytes) -> bytes:
    """The palette TIFF with its colour map's 16-bit values 65280 written as 255."""
    return tiff.replace(struct.pack("<H", 255 * 256), struct.pack("<H", 255))


@pytest.fixture
def file(tmp_path: Path):
    """Write bytes under a name and return the path."""

    def write(content: bytes, name: str = "x.png") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def refusal(path: Path, how: MaskRule = PLAIN) -> BadFile:
    with pytest.raises(BadFile) as caught:
        read_mask(path, how, 1)
    return caught.value


def colours(*channels: np.ndarray) -> np.ndarray:
    return np.dstack(channels).astype(np.uint8)


BLACK_WHITE = [(0, 0, 0), (255, 255, 255)]
RED = [(0, 0, 0), (255, 0, 0)]
ENCODINGS = {
    "1-bit png": encoded(Image.fromarray(WHITE).convert("1"), "PNG"),
    "1-bit bmp": encoded(Image.fromarray(WHITE).convert("1"), "BMP"),
    "1-bit pbm": encoded(Image.fromarray(WHITE).convert("1"), "PPM"),
    "1-bit tiff": encoded(Image.fromarray(WHITE).convert("1"), "TIFF"),
    "L 0/1": encoded(MASK, "PNG"),
    "L 0/255": encoded(WHITE, "PNG"),
    "L 0/1 tiff": encoded(MASK, "TIFF"),
    "L 0/255 tiff lzw": encoded(WHITE, "TIFF", compression="tiff_lzw"),
    "L 0/255 tiff packbits": encoded(WHITE, "TIFF", compression="packbits"),
    "L 0/255 pgm": encoded(WHITE, "PPM"),
    "pgm of 1": b"P5 16 12 1\n" + MASK.tobytes(),
    "pgm of 4095": b"P5 16 12 4095\n" + (MASK.astype(">u2") * 4095).tobytes(),
    "gif": encoded(WHITE, "GIF"),
    "gif 0/1": encoded(MASK, "GIF"),
    "palette": encoded(palette_image(MASK, BLACK_WHITE), "PNG"),
    "palette inverted": encoded(palette_image(1 - MASK, BLACK_WHITE[::-1]), "PNG"),
    "palette inverted gif": encoded(palette_image(1 - MASK, BLACK_WHITE[::-1]), "GIF"),
    "palette with two blacks": encoded(
        palette_image(np.where(MASK, 1, 2 * (np.indices((H, W))[0] % 2)), [*RED, (0, 0, 0)]), "PNG"
    ),
    "VOC palette": encoded(palette_image(MASK, [(0, 0, 0), (128, 0, 0)]), "PNG"),
    "palette tiff, index 0/1": encoded(palette_image(MASK, RED), "TIFF"),
    "palette tiff of 8 bits": with_8_bit_colour_map(
        encoded(palette_image(MASK, RED), "TIFF"),
    ),
    "palette bmp": encoded(palette_image(MASK, RED), "BMP"),
    "VOC red": encoded(VOC_RED, "PNG"),
    "red": encoded(colours(WHITE, 0 * MASK, 0 * MASK), "PNG"),
    "blue": encoded(colours(0 * MASK, 0 * MASK, WHITE), "PNG"),
    "almost black": encoded(colours(0 * MASK, MASK, 0 * MASK), "PNG"),
    "rgb white": encoded(colours(WHITE, WHITE, WHITE), "PNG"),
    "rgb white tiff": encoded(colours(WHITE, WHITE, WHITE), "TIFF", compression="tiff_lzw"),
    "rgb ppm": encoded(colours(WHITE, WHITE, WHITE), "PPM"),
    "rgba opaque": encoded(colours(WHITE, WHITE, WHITE, OPAQUE), "PNG"),
    "rgba red opaque": encoded(colours(WHITE, 0 * MASK, 0 * MASK, OPAQUE), "PNG"),
    "rgba half clear everywhere": encoded(colours(WHITE, WHITE, WHITE, OPAQUE // 2), "PNG"),
    "la opaque": encoded(colours(WHITE, OPAQUE), "PNG"),
    "16-bit 0/1": encoded(MASK.astype(np.uint16), "PNG"),
    "16-bit 0/255": encoded(WHITE.astype(np.uint16), "PNG"),
    "16-bit 0/65535": encoded(MASK * np.uint16(65535), "PNG"),
    "16-bit 0/1 tiff": encoded(MASK.astype(np.uint16), "TIFF"),
    "16-bit 0/65535 tiff": encoded(MASK * np.uint16(65535), "TIFF"),
    "32-bit 0/1 tiff": encoded(MASK.astype(np.int32), "TIFF"),
    "32-bit 0/-1 tiff": encoded(-MASK.astype(np.int32), "TIFF"),
    "float 0/1": encoded(MASK.astype(np.float32), "TIFF"),
    "float 0/255": encoded(WHITE.astype(np.float32), "TIFF"),
    "cmyk": encoded(Image.fromarray(colours(WHITE, WHITE, WHITE)).convert("CMYK"), "TIFF"),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_of_a_mask_gives_the_same_array(name: str, file) -> None:
    mask = read_mask(file(ENCODINGS[name]), PLAIN, 1)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, MASK)
    fov = read_fov_mask(file(ENCODINGS[name]), 1)
    assert fov.dtype == np.bool_
    np.testing.assert_array_equal(fov, MASK == 1)


def test_pillow_alone_reads_the_8_bit_colour_map_as_black() -> None:
    with Image.open(io.BytesIO(ENCODINGS["palette tiff of 8 bits"])) as image:
        assert image.mode == "P"
        assert image.convert("RGB").getextrema() == ((0, 0), (0, 0), (0, 0))


@pytest.mark.parametrize("form", ["PNG", "GIF", "TIFF", "BMP", "PPM", "JPEG"])
def test_an_all_black_mask_is_empty(form: str, file) -> None:
    for image in (Image.new("L", (W, H)), Image.new("RGB", (W, H)), Image.new("1", (W, H))):
        if (form, image.mode) == ("JPEG", "1"):
            continue
        path = file(encoded(image, form))
        np.testing.assert_array_equal(read_mask(path, PLAIN, 1), np.zeros((H, W), np.uint8))
        assert not read_fov_mask(path, 1).any()


JPEG = encoded(WHITE, "JPEG", quality=75)
THREE = MASK.copy()
THREE[11, 0] = 2
GREYS = np.arange(H * W, dtype=np.uint8).reshape(H, W)
MANY = np.dstack([GREYS, GREYS.T.reshape(H, W), 255 - GREYS])
AV = colours(np.where(THREE == 1, 255, 0), 0 * MASK, np.where(THREE == 2, 255, 0))
ALPHA_CODED = colours(OPAQUE, OPAQUE, OPAQUE, WHITE)
WHITE_IS_0 = {"tiffinfo": {262: 0}}

REFUSED = {
    "white": (encoded(OPAQUE, "PNG"), masks.ONE_COLOUR, "1 grey levels 255"),
    "1-bit white": (encoded(Image.new("1", (W, H), 1), "PNG"), masks.ONE_COLOUR, "1 grey levels 1"),
    "red everywhere": (
        encoded(Image.new("RGB", (W, H), (255, 0, 0)), "PNG"),
        masks.ONE_COLOUR,
        "1 colours #ff0000",
    ),
    "1/2": (encoded(MASK + np.uint8(1), "PNG"), masks.NO_BLACK, "2 grey levels 1 2"),
    "green/red": (
        encoded(palette_image(MASK, [(0, 255, 0), (255, 0, 0)]), "PNG"),
        masks.NO_BLACK,
        "2 colours #00ff00 #ff0000",
    ),
    "0/1/2": (encoded(THREE, "PNG"), masks.NOT_TWO_VALUED, "3 grey levels 0 1 2"),
    "192 levels": (encoded(GREYS, "PNG"), masks.NOT_TWO_VALUED, "192 grey levels 0..191"),
    "192 levels in rgb": (
        encoded(colours(GREYS, GREYS, GREYS), "PNG"),
        masks.NOT_TWO_VALUED,
        "192 grey levels 0..191",
    ),
    "arteries and veins": (
        encoded(AV, "PNG"),
        masks.NOT_TWO_VALUED,
        "3 colours #000000 #0000ff #ff0000",
    ),
    "7 colours": (
        encoded(palette_image(GREYS % 7, [(k, 0, 0) for k in range(7)]), "PNG"),
        masks.NOT_TWO_VALUED,
        "7 colours #000000..#060000",
    ),
    "an image": (
        encoded(np.random.default_rng(0).integers(0, 256, (H, 32, 3), dtype=np.uint8), "PNG"),
        masks.NOT_TWO_VALUED,
        "more than 256 colours",
    ),
    "float steps": (
        encoded(THREE.astype(np.float32) / 2, "TIFF"),
        masks.NOT_TWO_VALUED,
        "3 grey levels 0 0.5 1",
    ),
    "alpha-coded": (encoded(ALPHA_CODED, "PNG"), masks.HAS_ALPHA, "alpha 0..255"),
    "alpha-coded, black": (
        encoded(colours(0 * MASK, 0 * MASK, 0 * MASK, WHITE), "PNG"),
        masks.HAS_ALPHA,
        "alpha 0..255",
    ),
    "alpha-coded la": (encoded(colours(OPAQUE, WHITE), "PNG"), masks.HAS_ALPHA, "alpha 0..255"),
    "alpha-coded palette": (
        encoded(palette_image(MASK, BLACK_WHITE), "PNG", transparency=0),
        masks.HAS_ALPHA,
        "alpha 0..255",
    ),
    "alpha-coded gif": (
        encoded(palette_image(MASK, RED), "GIF", transparency=0),
        masks.HAS_ALPHA,
        "alpha 0..255",
    ),
    "clear": (
        encoded(colours(WHITE, WHITE, WHITE, 0 * MASK), "PNG"),
        masks.HAS_ALPHA,
        "alpha 0..0",
    ),
    "white is 0": (encoded(WHITE, "TIFF", **WHITE_IS_0), masks.MIN_IS_WHITE, ""),
    "white is 0, 1-bit": (
        encoded(Image.fromarray(WHITE).convert("1"), "TIFF", **WHITE_IS_0),
        masks.MIN_IS_WHITE,
        "",
    ),
    "16-bit colours": (
        png16(np.dstack([MASK] * 3), 2),
        decoding.COLOUR_MODE,
        "16-bit colours, of which 8 bits can be read",
    ),
    "16-bit grey and alpha": (
        png16(np.dstack([MASK, MASK]), 4),
        decoding.COLOUR_MODE,
        "16-bit colours, of which 8 bits can be read",
    ),
    "nan": (encoded(np.where(MASK, np.float32(1), np.nan), "TIFF"), decoding.NOT_FINITE, ""),
    "two pages": (
        encoded(WHITE, "TIFF", save_all=True, append_images=[Image.fromarray(WHITE)]),
        decoding.FRAMES,
        "",
    ),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", decoding.LFS_POINTER, ""),
    "cut": (encoded(WHITE, "GIF")[:-12], decoding.UNREADABLE, None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mask_that_can_be_read_in_two_ways_is_refused(name: str, file) -> None:
    content, kind, found = REFUSED[name]
    error = refusal(file(content))
    assert error.kind == kind
    if found is not None:
        assert error.found == found


def test_every_ambiguity_names_the_key_that_decides() -> None:
    for kind in (masks.ONE_COLOUR, masks.NO_BLACK, masks.NOT_TWO_VALUED, masks.MIN_IS_WHITE):
        assert "data.mask_foreground" in kind
    assert "data.mask_threshold" in masks.NOT_TWO_VALUED
    assert "data.mask_channel" in masks.HAS_ALPHA


# The rule: threshold


def test_a_jpeg_mask_needs_the_threshold(file) -> None:
    path = file(JPEG)
    error = refusal(path)
    assert error.kind == masks.NOT_TWO_VALUED
    levels = np.unique(np.array(Image.open(path)))
    assert error.found == f"{len(levels)} grey levels {levels[0]}..{levels[-1]}"
    np.testing.assert_array_equal(read_mask(path, rule(threshold=0.5), 1), MASK)


def test_the_threshold_is_a_share_of_full_scale_and_exclusive(file) -> None:
    levels = np.array([[0, 63, 64, 127, 128, 191, 192, 255]], np.uint8)
    for share, expected in ((0.25, [0, 0, 1, 1, 1, 1, 1, 1]), (0.75, [0] * 6 + [1] * 2)):
        how = rule(threshold=share)
        for content in (
            encoded(levels, "PNG"),
            encoded(colours(0 * levels, levels, 0 * levels), "PNG"),
            encoded(levels.astype(np.uint16) * 257, "PNG"),
            encoded((levels / 255).astype(np.float32), "TIFF"),
            b"P5 8 1 65535\n" + (levels.astype(">u2") * 257).tobytes(),
        ):
            assert read_mask(file(content), how, 1).tolist() == [expected]
    exact = file(encoded(np.array([[0, 51, 52]], np.uint8), "PNG"))
    assert read_mask(exact, rule(threshold=0.2), 1).tolist() == [[0, 0, 1]]  # 51 = 0.2 * 255


def test_the_brightest_channel_counts_for_the_threshold(file) -> None:
    path = file(encoded(VOC_RED, "PNG"))
    np.testing.assert_array_equal(read_mask(path, rule(threshold=0.5), 1), MASK)
    assert not read_mask(path, rule(threshold=0.51), 1).any()
    white = read_mask(file(encoded(OPAQUE, "PNG")), rule(threshold=0.5), 1)
    np.testing.assert_array_equal(white, np.ones((H, W)))


def test_a_threshold_never_silently_empties_a_mask(file) -> None:
    """Values 0/1/2 are far below half of 255, and 0/255 below half of 65535."""
    how = rule(threshold=0.5)
    for name in ("L 0/1", "gif 0/1", "16-bit 0/1", "16-bit 0/255", "almost black"):
        assert refusal(file(ENCODINGS[name]), how).kind == masks.TOO_DARK
    labels = refusal(file(encoded(THREE, "PNG")), how)
    assert (labels.kind, labels.found) == (masks.TOO_DARK, "3 grey levels 0 1 2")
    lowest = rule(threshold=1.5 / 255)
    np.testing.assert_array_equal(read_mask(file(encoded(THREE, "PNG")), lowest, 1), THREE == 2)
    faint = file(encoded(np.array([[0, 16, 40]], np.uint8), "PNG"))
    assert not read_mask(faint, how, 1).any()
    for name in ("32-bit 0/1 tiff", "float 0/255"):
        assert refusal(file(ENCODINGS[name]), how).kind == masks.UNKNOWN_FULL_SCALE
    for name in ("1-bit png", "float 0/1", "16-bit 0/65535", "L 0/255", "pgm of 1"):
        np.testing.assert_array_equal(read_mask(file(ENCODINGS[name]), how, 1), MASK)


# The rule: foreground


@pytest.mark.parametrize(
    ("content", "foreground", "expected"),
    [
        (encoded(THREE, "PNG"), ("1",), THREE == 1),
        (encoded(THREE, "PNG"), ("1", "2"), THREE > 0),
        (encoded(THREE, "PNG"), ("#020202", "7"), THREE == 2),
        (encoded(THREE, "PNG"), ("#ff0000",), THREE > 9),
        (encoded(WHITE, "PNG"), ("0",), MASK == 0),
        (encoded(OPAQUE, "PNG"), ("255",), MASK >= 0),
        (encoded(AV, "PNG"), ("#ff0000",), THREE == 1),
        (encoded(AV, "PNG"), ("#FF0000", "#0000ff"), THREE > 0),
        (encoded(AV, "PNG"), ("#00ff00", "0"), THREE == 0),
        (encoded(AV, "GIF"), ("#0000ff",), THREE == 2),
        (encoded(colours(WHITE, WHITE, WHITE), "PNG"), ("#ffffff",), MASK == 1),
        (encoded(colours(WHITE, WHITE, WHITE), "PNG"), ("255",), MASK == 1),
        (encoded(THREE.astype(np.uint16) * 300, "PNG"), ("600",), THREE == 2),
        (encoded(THREE.astype(np.int32) * 70000, "TIFF"), ("70000",), THREE == 1),
        (encoded(THREE.astype(np.float32), "TIFF"), ("2",), THREE == 2),
        (ENCODINGS["1-bit png"], ("255",), MASK == 1),
        (ENCODINGS["1-bit png"], ("1",), MASK == 1),
        (ENCODINGS["1-bit png"], ("#ffffff",), MASK == 1),
        (ENCODINGS["1-bit png"], ("0",), MASK == 0),
        (ENCODINGS["1-bit png"], ("128",), MASK > 1),
        (encoded(WHITE, "TIFF", **WHITE_IS_0), ("255",), MASK == 1),
        (encoded(WHITE, "TIFF", **WHITE_IS_0), ("0",), MASK == 0),
    ],
)
def test_listed_colours_are_the_structure(
    content: bytes, foreground: tuple[str, ...], expected: np.ndarray, file
) -> None:
    mask = read_mask(file(content), rule(foreground=foreground), 1)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, expected.astype(np.uint8))


@pytest.mark.parametrize("value", ["red", "#fff", "#gg0000", "-1", "", "1.5", " 1"])
def test_a_foreground_that_is_no_colour_is_a_config_error(value: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.mask_foreground=.*#ff0000"):
        rule(foreground=("255", value))


# The rule: channel


def test_the_alpha_channel_is_read_when_asked_for(file) -> None:
    alpha = rule(channel=MaskChannel.alpha)
    for name in ("alpha-coded", "alpha-coded, black", "alpha-coded la", "alpha-coded palette"):
        np.testing.assert_array_equal(read_mask(file(REFUSED[name][0]), alpha, 1), MASK, name)
    assert not read_mask(file(REFUSED["clear"][0]), alpha, 1).any()
    assert refusal(file(ENCODINGS["rgba opaque"]), alpha).kind == masks.ONE_COLOUR
    assert refusal(file(ENCODINGS["rgb white"]), alpha).kind == masks.NO_ALPHA
    soft = file(encoded(colours(OPAQUE, GREYS), "PNG"))
    assert refusal(soft, alpha).kind == masks.NOT_TWO_VALUED
    cut = read_mask(soft, rule(threshold=0.5, channel=MaskChannel.alpha), 1)
    np.testing.assert_array_equal(cut, GREYS > 127)


# Field of view


def disc(size: int) -> np.ndarray:
    y, x = np.indices((size, size)) - (size - 1) / 2
    return x**2 + y**2 < (0.45 * size) ** 2


def test_a_jpeg_field_of_view_is_cut_at_half_scale(file) -> None:
    inside = disc(96)
    for quality in (50, 75, 95):
        jpeg = encoded(inside.astype(np.uint8) * 255, "JPEG", quality=quality)
        np.testing.assert_array_equal(read_fov_mask(file(jpeg), 1), inside)
    colour = encoded(np.dstack([inside.astype(np.uint8) * 255] * 3), "JPEG")
    np.testing.assert_array_equal(read_fov_mask(file(colour), 1), inside)


def test_a_field_of_view_may_be_everywhere(file) -> None:
    assert read_fov_mask(file(encoded(OPAQUE, "PNG")), 1).all()
    assert read_fov_mask(file(encoded(Image.new("1", (W, H), 1), "PNG")), 1).all()
    assert read_fov_mask(file(encoded(Image.new("RGB", (W, H), (9, 0, 0)), "PNG")), 1).all()


def test_an_image_is_no_field_of_view_mask(file) -> None:
    inside = disc(96)
    image = np.where(inside[..., None], (200, 90, 30), 0).astype(np.uint8)
    image[40:50, 40:50] = (250, 200, 90)
    green_red = palette_image(MASK, [(0, 255, 0), (255, 0, 0)])
    for content in (
        encoded(image, "PNG"),
        encoded(image, "JPEG"),
        encoded(GREYS, "PNG"),
        encoded(green_red, "PNG"),
    ):
        with pytest.raises(BadFile) as caught:
            read_fov_mask(file(content), 1)
        assert caught.value.kind == masks.FOV_NOT_TWO_VALUED
    with pytest.raises(BadFile) as caught:
        read_fov_mask(file(encoded(THREE.astype(np.int32), "TIFF")), 1)
    assert caught.value.kind == masks.NOT_TWO_VALUED
    with pytest.raises(BadFile) as caught:
        read_fov_mask(file(encoded(WHITE, "TIFF", **WHITE_IS_0)), 1)
    assert caught.value.kind == masks.MIN_IS_WHITE


# Orientation, limits, damage


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_orientation_rotates_a_mask_like_its_image(form: str, file) -> None:
    for orientation, expected in ((3, MASK[::-1, ::-1]), (6, np.rot90(MASK, -1))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = file(encoded(WHITE, form, exif=exif))
        np.testing.assert_array_equal(read_mask(path, PLAIN, 1), expected)
        np.testing.assert_array_equal(read_fov_mask(path, 1), expected == 1)


def test_the_size_limit_holds_for_masks(file) -> None:
    path = file(encoded(WHITE, "PNG"))
    for read in (lambda most: read_mask(path, PLAIN, most), lambda most: read_fov_mask(path, most)):
        assert read(H * W / 1e6).shape == (H, W)
        with pytest.raises(BadFile, match="max_megapixels"):
            read((H * W - 1) / 1e6)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "x.png"


RULES = [
    PLAIN,
    rule(threshold=0.5),
    rule(foreground=("255", "#ff0000")),
    rule(channel=MaskChannel.alpha),
]


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(sorted(ENCODINGS)),
    edits=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=6)), min_size=1, max_size=4
    ),
    how=st.sampled_from(RULES),
)
def test_changed_bytes_give_bad_file_or_a_0_1_mask(
    name: str, edits: list[tuple[float, int, bytes]], how: MaskRule, fuzzed: Path
) -> None:
    content = bytearray(ENCODINGS[name])
    for where, removed, inserted in edits:
        at = int(where * len(content))
        content[at : at + removed] = inserted
    fuzzed.write_bytes(content)
    for read in (lambda: read_mask(fuzzed, how, 0.01), lambda: read_fov_mask(fuzzed, 0.01)):
        try:
            mask = read()
        except BadFile as error:
            assert error.kind
        else:
            assert mask.ndim == 2
            assert mask.dtype in (np.uint8, np.bool_)
            assert mask.max() <= 1


# Real masks


def test_real_masks(real_data: Path) -> None:
    names = ["HRF/manual1/01_h.tif", "HRF/manual1/11_h.tif", "HRF/manual1/15_g.tif"]
    names += [
        f"CHASE_DB1/Image_{eye}_{who}HO.png" for eye in ("01L", "14R") for who in ("1st", "2nd")
    ]
    for name in names:
        expected = np.array(Image.open(real_data / name).convert("L")) > 127
        assert 0.04 < expected.mean() < 0.15
        np.testing.assert_array_equal(read_mask(real_data / name, PLAIN, 80), expected)


def test_real_fields_of_view(real_data: Path) -> None:
    for name in ("01_h", "01_dr", "01_g"):
        path = real_data / "HRF" / "mask" / f"{name}_mask.tif"
        expected = np.array(Image.open(path).convert("L")) > 127
        assert 0.7 < expected.mean() < 0.95
        np.testing.assert_array_equal(read_fov_mask(path, 80), expected)


def test_a_large_rgb_mask_takes_little_longer_than_its_decoding(real_data: Path) -> None:
    path = real_data / "HRF" / "mask" / "01_h_mask.tif"
    durations = []
    for _ in range(5):
        start = time.process_time()
        read_mask(path, PLAIN, 80)
        durations.append(time.process_time() - start)
    assert min(durations) < 0.5  # 0.08 s measured; np.unique over the colours takes seconds
