"""Every kind of damage is found with the right severity: training stops exactly on errors."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_image, write_tiny_set
from PIL import Image

from fundus_cli.check.contact_sheet import FRAMES
from fundus_cli.check.findings import Severity
from fundus_cli.check.inspect_dataset import Survey, survey
from fundus_cli.config import DataConfig, MaskChannel, OnBad
from fundus_cli.config.compose import compose_config
from fundus_cli.data.dataset import load_dataset
from fundus_cli.errors import DataError


def config(root: Path, *overrides: str) -> DataConfig:
    words = ("data=folder", f"data.root={root}", "data.fov_diameter_px=null", *overrides)
    return compose_config("train", words).data


def checked(data: DataConfig) -> Survey:
    assert data.root is not None
    return survey(data, Path(data.root), None, lambda total: None)


def codes(result: Survey) -> set[str]:
    return {one.kind.code for one in result.findings}


def training_stops(data: DataConfig) -> bool:
    try:
        load_dataset(data)
    except DataError:
        return True
    return False


def mask(root: Path, name: str = "p0") -> tuple[Path, np.ndarray]:
    path = root / "train_masks" / f"{name}.png"
    return path, np.array(Image.open(path))


def change_mask(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        path, pixels = mask(root)
        Image.fromarray(np.ascontiguousarray(function(pixels))).save(path)

    return damage


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes(content) and None


def swap(root: Path) -> None:
    (_, one), (_, other) = mask(root, "p0"), mask(root, "p1")
    Image.fromarray(other).save(root / "train_masks/p0.png")
    Image.fromarray(one).save(root / "train_masks/p1.png")


def truncate(root: Path) -> None:
    path = root / "train_images/p0.png"
    path.write_bytes(path.read_bytes()[:-400])


def exif(orientation: int, method: Image.Transpose) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        path = root / "train_images/p0.png"
        tags = Image.Exif()
        tags[0x0112] = orientation
        Image.open(path).transpose(method).save(path, exif=tags)

    return damage


def copy_to_test(root: Path) -> None:
    for kind in ("images", "masks"):
        shutil.copy(root / f"train_{kind}/p0.png", root / f"test_{kind}/other.png")


def near_copy_to_test(root: Path) -> None:
    pixels, vessel = tiny_image(0, 512)
    image = Image.fromarray(pixels).reduce(2)
    pixels = Image.fromarray(vessel.astype(np.uint8)[::2, ::2] * np.uint8(255))
    image.save(root / "train_images/p0.png")
    pixels.save(root / "train_masks/p0.png")
    image.resize((200, 200)).save(root / "test_images/other.jpg", quality=70)
    pixels.resize((200, 200), Image.Resampling.NEAREST).save(root / "test_masks/other.png")


def copy_within(root: Path) -> None:
    for kind in ("images", "masks"):
        shutil.copy(root / f"test_{kind}/p6.png", root / f"test_{kind}/other.png")


def empty_fov(root: Path) -> None:
    for split, numbers in (("train", range(6)), ("test", range(6, 8))):
        (root / f"{split}_fov").mkdir()
        for number in numbers:
            full = np.full((64, 64), 255 * (number != 0), np.uint8)
            if number != 1:
                y, x = np.mgrid[:64, :64]
                full[(y - 32) ** 2 + (x - 32) ** 2 >= 29.4**2] = 0
            Image.fromarray(full).save(root / f"{split}_fov/p{number}.png")


def both_eyes(root: Path) -> None:
    for kind in ("images", "masks"):
        (root / f"train_{kind}/p0.png").rename(root / f"train_{kind}/9_left.png")
        (root / f"test_{kind}/p6.png").rename(root / f"test_{kind}/9_right.png")


def sixteen_bit(root: Path) -> None:
    grey = tiny_image(0)[0][..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(root / "train_images/p0.png")


def in_place_of(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Replace a file by something else of the same name."""

    def damage(root: Path) -> None:
        (root / name).unlink()
        make(root / name)

    return damage


def from_to(source: str, destination: str) -> Callable[[Path], None]:
    return lambda root: shutil.copy(root / source, root / destination) and None


IMAGE, MASK = "train_images/p0.png", "train_masks/p0.png"
LFS = b"version https://git-lfs.github.com/spec/v1\n"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
Damage = Callable[[Path], object]

DAMAGES: dict[str, tuple[Damage, str]] = {
    "truncated": (truncate, "unreadable"),
    "html": (write(IMAGE, b"<html>"), "web-page"),
    "lfs": (write(MASK, LFS), "lfs-pointer"),
    "empty": (write("test_masks/p6.png", b""), "empty-file"),
    "photoshop": (write(IMAGE, b"8BPS\0\1" + bytes(60)), "unreadable"),
    "eps": (write(IMAGE, EPS), "unreadable"),
    "folder": (in_place_of(MASK, Path.mkdir), "not-a-file"),
    "fifo": (in_place_of(IMAGE, os.mkfifo), "not-a-file"),
    "link loop": (in_place_of(IMAGE, lambda p: p.symlink_to(p.name)), "cannot-open"),
    "broken link": (in_place_of(IMAGE, lambda p: p.symlink_to("gone")), "cannot-open"),
    "missing": (lambda root: (root / MASK).unlink(), "missing-file"),
    "left over": (from_to(MASK, "train_masks/x.png"), "left-over-file"),
    "doubled": (from_to(IMAGE, "train_images/p0.bmp"), "doubled-file"),
    "no test": (lambda root: shutil.rmtree(root / "test_images"), "no-image"),
    "three values": (
        change_mask(lambda m: m // 128 + (np.arange(64) > 40) * (m // 255)),
        "mask-not-two-valued",
    ),
    "one colour": (change_mask(lambda m: m * 0 + 255), "mask-one-colour"),
    "no black": (change_mask(lambda m: np.maximum(m, 9)), "mask-no-black"),
    "resized": (change_mask(lambda m: m[::2, ::2]), "size-differs"),
    "blank mask": (change_mask(lambda m: m * 0), "mask-empty"),
    "inverted": (change_mask(lambda m: 255 - m), "mask-inverted"),
    "shifted": (change_mask(lambda m: np.roll(m, (3, -4), (0, 1))), "mask-shifted"),
    "mirrored": (change_mask(lambda m: m[:, ::-1]), "mask-turned"),
    "swapped": (swap, "mask-of-another"),
    "black": (in_place_of(IMAGE, Image.new("RGB", (64, 64)).save), "all-black"),
    "mask as image": (from_to(MASK, IMAGE), "grey"),
    "exact copy": (copy_to_test, "copy-across-splits"),
    "near copy": (near_copy_to_test, "near-copy-across-splits"),
    "copy within": (copy_within, "copy-within-split"),
    "fov empty": (empty_fov, "fov-empty"),
    "eyes": (both_eyes, "eyes-across-splits"),
    "sixteen bit": (sixteen_bit, "sixteen-bit"),
    "exif": (exif(3, Image.Transpose.ROTATE_180), "exif-turned"),
    "junk": (write("train_images/.DS_Store", b"x"), "junk-files"),
}


def test_a_good_set_has_no_findings(shared_tiny_set: Path) -> None:
    result = checked(config(shared_tiny_set))
    assert result.findings == []
    assert [one.job.files.id for one in result.images] == [
        *sorted(one.job.files.id for one in result.images if one.job.split == "train"),
        *sorted(one.job.files.id for one in result.images if one.job.split == "val"),
        "p6",
        "p7",
    ]
    assert all(0.05 < one.covered["vessel"] / one.inside < 0.4 for one in result.images)


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damage_is_found_and_stops_training_exactly_if_it_is_an_error(
    tiny_set: Path, damage: str
) -> None:
    hurt, code = DAMAGES[damage]
    hurt(tiny_set)
    data = config(tiny_set)
    result = checked(data)
    assert code in codes(result)
    is_error = any(one.severity is Severity.error for one in result.findings)
    assert training_stops(data) == is_error


def test_all_damage_at_once_is_all_found(tiny_set: Path) -> None:
    expected = set()
    for name in ("three values", "junk", "empty"):
        hurt, code = DAMAGES[name]
        hurt(tiny_set)
        expected.add(code)
    path, pixels = mask(tiny_set, "p2")
    Image.fromarray(255 - pixels).save(path)
    truncated = tiny_set / "train_images/p3.png"
    truncated.write_bytes(truncated.read_bytes()[:300])
    (tiny_set / "train_masks/p4.png").unlink()
    found = codes(checked(config(tiny_set)))
    assert found == expected | {"mask-inverted", "unreadable", "missing-file"}


def test_a_wrong_fov_and_decompression_bombs_are_reported(tiny_set: Path) -> None:
    empty_fov(tiny_set)
    Image.new("1", (9000, 9000)).save(tiny_set / "train_images/p3.png")
    found = {one.kind.code: one for one in checked(config(tiny_set)).findings}
    assert "overlap" in found["fov-disagrees"].found
    assert found["fov-disagrees"].files == ("train_fov/p1.png",)
    assert found["too-large"].found == "9000x9000"


def test_a_shift_is_measured_and_swapped_masks_name_their_image(tiny_set: Path) -> None:
    DAMAGES["shifted"][0](tiny_set)
    (one,) = checked(config(tiny_set)).findings
    assert "fits when moved 4 px right and 3 px up" in one.found
    path, pixels = mask(tiny_set)
    Image.fromarray(np.roll(pixels, (-3, 4), (0, 1))).save(path)
    swap(tiny_set)
    reported = {one.files[0]: one.found for one in checked(config(tiny_set)).findings}
    assert reported == {
        "train_masks/p0.png": "fits train_images/p1.png",
        "train_masks/p1.png": "fits train_images/p0.png",
    }


def test_a_mask_of_the_image_before_its_exif_rotation_is_recognised(tiny_set: Path) -> None:
    exif(3, Image.Transpose.ROTATE_180)(tiny_set)
    path, pixels = mask(tiny_set)
    Image.fromarray(np.ascontiguousarray(pixels[::-1, ::-1])).save(path)
    reported = {one.kind.code: one for one in checked(config(tiny_set)).findings}
    assert set(reported) == {"exif-turned", "mask-turned"}
    assert "without its EXIF rotation" in reported["mask-turned"].means


def test_on_bad_skip_makes_unreadable_files_warnings(tiny_set: Path) -> None:
    truncate(tiny_set)
    data = replace(config(tiny_set), on_bad=OnBad.skip)
    (one,) = checked(data).findings
    assert one.severity is Severity.warning
    assert not training_stops(data)


def test_a_rule_that_empties_a_mask_is_reported(tiny_set: Path) -> None:
    path, pixels = mask(tiny_set)
    Image.fromarray(pixels // 255 * 2).save(path)
    data = replace(config(tiny_set), mask_threshold=0.5)
    (one,) = checked(data).findings
    assert (one.kind.code, one.files) == ("mask-too-dark", ("train_masks/p0.png",))
    data = replace(config(tiny_set), mask_foreground=["255"])
    (one,) = checked(data).findings
    assert one.kind.code == "rule-empties-mask"
    assert "data.mask_foreground=[2]" in one.todo


def test_all_empty_masks_and_a_too_small_train_are_reported(tiny_set: Path) -> None:
    for path in tiny_set.glob("*_masks/*.png"):
        Image.new("L", (64, 64)).save(path)
    assert codes(checked(config(tiny_set))) == {"mask-empty", "all-masks-empty"}
    for number in range(1, 6):
        (tiny_set / f"train_images/p{number}.png").unlink()
        (tiny_set / f"train_masks/p{number}.png").unlink()
    data = config(tiny_set)
    assert "val-too-small" in codes(checked(data))
    assert training_stops(data)


def test_an_empty_folder_is_findings_and_no_crash(tmp_path: Path) -> None:
    result = checked(config(tmp_path))
    assert codes(result) == {"no-image"}
    assert all("no image file" in one.found for one in result.findings)


@pytest.mark.parametrize("hw", [(1, 1), (3, 3), (65, 47), (10, 400)])
def test_odd_sizes_are_survived(tiny_set: Path, hw: tuple[int, int]) -> None:
    image = np.full((*hw, 3), 120, np.uint8)
    Image.fromarray(image).save(tiny_set / "train_images/p0.png")
    marked = np.zeros(hw, np.uint8)
    marked[0, 0] = 255
    Image.fromarray(marked).save(tiny_set / "train_masks/p0.png")
    assert "unreadable" not in codes(checked(config(tiny_set)))


def test_persons_by_the_pattern_of_the_config(tiny_set: Path) -> None:
    both_eyes(tiny_set)
    data = replace(config(tiny_set), person=r"(\d+)_")
    (one,) = checked(data).findings
    assert one.kind.code == "person-across-splits"
    assert set(one.files) == {"train_images/9_left.png", "test_images/9_right.png"}


def test_masks_in_the_transparency(tiny_set: Path) -> None:
    path, pixels = mask(tiny_set)
    layer = np.dstack([pixels * 0 + 255] * 3 + [pixels])
    Image.fromarray(layer).save(path)
    (one,) = checked(config(tiny_set)).findings
    assert one.kind.code == "mask-transparent"
    assert "data.mask_channel=alpha" in one.todo
    others = checked(replace(config(tiny_set), mask_channel=MaskChannel.alpha))
    assert codes(others) == {"mask-not-transparent"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root lists every folder")
def test_a_folder_that_cannot_be_listed_is_reported(tiny_set: Path) -> None:
    (tiny_set / "train_masks").chmod(0)
    found = codes(checked(config(tiny_set)))
    (tiny_set / "train_masks").chmod(0o755)
    assert "unlistable-folder" in found


def test_the_contact_sheet_frames_images_with_findings(tiny_set: Path, tmp_path: Path) -> None:
    (tiny_set / "train_masks/p0.png").unlink()
    DAMAGES["shifted"][0](write_tiny_set(tmp_path / "other"))
    for root, severity in ((tiny_set, Severity.error), (tmp_path / "other", Severity.warning)):
        result = survey(config(root), root, tmp_path, lambda total: None)
        assert [path.name for path in result.pages] == ["contact_sheet_1.png"]
        page = np.array(Image.open(result.pages[0]))
        framed = {s for s, colour in FRAMES.items() if (page == colour).all(axis=2).sum() > 1000}
        assert framed == {severity}
