"""The field of view on every kind of surround, and warnings where it cannot be found."""

from pathlib import Path

import numpy as np
import pytest
from conftest import small
from PIL import Image
from surrounds import KINDS, WHITE, crop, on

from fundus_cli.check.finding_kinds import FOV_NOT_FOUND, SEVERAL_FIELDS
from fundus_cli.check.inspect_image import Inspector, Job
from fundus_cli.config import DataConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.data.dataset import load_dataset
from fundus_cli.data.fov import FieldOfView, field_of_view, find_fov, fov_diameter_px
from fundus_cli.data.near_duplicates import MIN_CORRELATION, signature
from fundus_cli.data.samples import prepare
from fundus_cli.data.templates import SampleFiles
from fundus_cli.inference.image_quality import quality_warnings
from fundus_cli.synthetic.render import render_image


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def best_iou(found: np.ndarray, truth: np.ndarray, fields: int) -> float:
    """Against the truth, or against the better of its two halves."""
    if fields == 1:
        return iou(found, truth)
    axis = int(truth.shape[1] > truth.shape[0])
    return max(iou(found, half) for half in halves(truth, axis))


def halves(truth: np.ndarray, axis: int) -> list[np.ndarray]:
    middle = truth.shape[axis] // 2
    index = np.arange(truth.shape[axis])
    first = np.expand_dims(index < middle, 1 - axis)
    return [truth & first, truth & ~first]


def check(kind: str, image: np.ndarray, fov: np.ndarray) -> None:
    painted, truth = KINDS[kind].paint(image, fov)
    found = field_of_view(np.ascontiguousarray(painted))
    if not KINDS[kind].decidable:
        assert found.confidence == 0 or iou(found.mask, truth) >= 0.99
        return
    assert found.num_fields == KINDS[kind].fields
    assert found.confidence >= 0.4
    assert best_iou(found.mask, truth, KINDS[kind].fields) >= 0.99
    assert found.diameter_px == pytest.approx(fov_diameter_px(fov), rel=0.01)


@pytest.fixture(scope="module")
def synthetic() -> list[tuple[np.ndarray, np.ndarray]]:
    images = [render_image(7, index, 300).image for index in (0, 4, 8)]
    return [(image, find_fov(image)) for image in images]


@pytest.mark.parametrize("kind", KINDS)
def test_synthetic_images_on_every_surround(
    kind: str, synthetic: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    for image, fov in synthetic:
        check(kind, image, fov)


@pytest.mark.parametrize("kind", KINDS)
def test_chase_db1_on_every_surround(kind: str, real_data: Path) -> None:
    image = np.asarray(Image.open(real_data / "CHASE_DB1" / "Image_05L.jpg").convert("RGB"))
    check(kind, image, find_fov(image))


@pytest.mark.slow
@pytest.mark.parametrize("identifier", ["01_dr", "06_g", "12_h"])
def test_hrf_on_every_surround(identifier: str, real_data: Path) -> None:
    (path,) = (real_data / "HRF" / "images").glob(f"{identifier}.*")
    mask = Image.open(real_data / "HRF" / "mask" / f"{identifier}_mask.tif").convert("L")
    image, fov = np.asarray(Image.open(path).convert("RGB")), np.asarray(mask) > 127
    for kind in KINDS:
        check(kind, image, fov)


@pytest.mark.slow
def test_parts_of_chase_db1_are_measured_correctly_or_not_at_all(real_data: Path) -> None:
    random = np.random.default_rng(0)
    for path in sorted((real_data / "CHASE_DB1").glob("*.jpg"))[::4]:
        image = np.asarray(Image.open(path).convert("RGB"))
        fov = find_fov(image)
        for colour in (None, WHITE, (128, 128, 128), (180, 90, 50)):
            whole = image if colour is None else on(colour)(image, fov)[0]
            for _ in range(10):
                height, width = (random.uniform(0.25, 0.9, 2) * fov.shape).astype(int)
                top = random.integers(0, fov.shape[0] - height + 1)
                left = random.integers(0, fov.shape[1] - width + 1)
                part = np.s_[top : top + height, left : left + width]
                found = field_of_view(np.ascontiguousarray(whole[part]))
                if found.confidence > 0:
                    assert iou(found.mask, fov[part]) >= 0.98
                    assert found.diameter_px == pytest.approx(fov_diameter_px(fov), rel=0.03)


def test_an_ordinary_image_takes_the_first_path(
    monkeypatch: pytest.MonkeyPatch, synthetic: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the search for other surrounds")

    monkeypatch.setattr("fundus_cli.data.fov.field_on_surround", never)
    for image, _ in synthetic:
        found = field_of_view(image)
        assert found.confidence > 0.9
        assert found.num_fields == 1


def test_a_known_circle_counts_where_its_mask_is_too_small_to_measure() -> None:
    mask = np.zeros((60, 60), bool)
    mask[20:40, 10:50] = True
    image = np.full((60, 60, 3), 90, np.uint8)
    known = prepare("a", image, FieldOfView(mask=mask, diameter_px=80.0), "found", None)
    assert (known.fov_diameter_px, known.is_round) == (80, True)
    unknown = prepare("a", image, mask, "file", None)
    assert (unknown.fov_diameter_px, unknown.is_round) == (40, False)


def test_near_duplicates_are_compared_inside_a_white_surround(
    synthetic: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    signatures = []
    for image, fov in synthetic:
        white, _ = on(WHITE)(image, fov)
        signatures.append(signature(white.transpose(2, 0, 1), find_fov(white)))
        original = signature(image.transpose(2, 0, 1), fov)
        assert float(signatures[-1] @ original) >= MIN_CORRELATION
    table = np.stack(signatures) @ np.stack(signatures).T
    assert (table[~np.eye(3, dtype=bool)] < MIN_CORRELATION).all()


def written(root: Path, split: str, images: dict[str, np.ndarray]) -> None:
    for folder in ("images", "masks"):
        (root / f"{split}_{folder}").mkdir(parents=True)
    for name, image in images.items():
        Image.fromarray(image).save(root / f"{split}_images" / f"{name}.png")
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[len(mask) // 2 :: 9] = 255
        Image.fromarray(mask).save(root / f"{split}_masks" / f"{name}.png")


def data_of(root: Path, *overrides: str) -> DataConfig:
    given = (f"data.root={root}", "data.val_fraction=0", *overrides)
    return compose_config("train", small("data=folder", *given)).data


def test_each_split_says_once_that_its_scale_is_unknown(tmp_path: Path) -> None:
    sources = [render_image(7, index, 200) for index in range(6)]
    parts = [crop(0.2, 0.75, 0.2, 0.75)(s.image, s.fov)[0] for s in sources[:5]]
    written(tmp_path, "train", {f"c{n}": part for n, part in enumerate(parts[:4])})
    two, _ = KINDS["two side by side"].paint(sources[5].image, sources[5].fov)
    written(tmp_path, "test", {"part": parts[4], "two": two})
    assumed = load_dataset(data_of(tmp_path, "data.fov_diameter_px=160")).warnings
    assert [line for line in assumed if "field" in line] == [
        "warning: train: no border of the field of view is visible in 4 of 4 images (c0.png, "
        "c1.png, c2.png, ...); their scale is unknown, and 45 degrees is assumed for their longer "
        "side; set data.fov_angle_deg to what it shows",
        "warning: test: no border of the field of view is visible in 1 of 2 images (part.png); "
        "their scale is unknown, and 45 degrees is assumed for their longer side; set "
        "data.fov_angle_deg to what it shows",
        "warning: test: several fields of view in 1 of 2 images (two.png); only one of them is "
        "used, so save each as a file of its own",
    ]
    given = load_dataset(
        data_of(tmp_path, "data.fov_diameter_px=160", "data.fov_angle_deg=24")
    ).warnings
    assert "data.fov_angle_deg=24 is assumed for their longer side" in given[0]
    native = load_dataset(data_of(tmp_path)).warnings
    assert "data.fov_diameter_px=null keeps their size" in native[0]


def test_ordinary_sets_get_no_such_line(tmp_path: Path) -> None:
    written(tmp_path, "train", {f"a{n}": render_image(7, n, 200).image for n in range(2)})
    written(tmp_path, "test", {"b": on(WHITE)(*image_and_fov(3))[0]})
    warnings = load_dataset(data_of(tmp_path, "data.fov_diameter_px=160")).warnings
    assert not [line for line in warnings if "field of view" in line or "duplicate" in line]


def image_and_fov(index: int) -> tuple[np.ndarray, np.ndarray]:
    image = render_image(7, index, 200).image
    return image, find_fov(image)


def test_a_prediction_says_why_its_scale_is_unknown() -> None:
    image, fov = image_and_fov(0)
    part, _ = crop(0.2, 0.75, 0.2, 0.75)(image, fov)
    two, _ = KINDS["two side by side"].paint(image, fov)
    for pixels, expected in (
        (part, "so the scale is unknown"),
        (two, "2 fields of view, of which one is predicted"),
    ):
        pixels = np.ascontiguousarray(pixels)
        prepared = prepare("a", pixels, field_of_view(pixels), "found", None)
        assert any(expected in line for line in quality_warnings(prepared, pixels))


def test_fundus_check_finds_both(tmp_path: Path) -> None:
    image, fov = image_and_fov(0)
    part, _ = crop(0.2, 0.75, 0.2, 0.75)(image, fov)
    two, _ = KINDS["two side by side"].paint(image, fov)
    inspect = Inspector(data_of(tmp_path), tmp_path, None)
    for name, pixels, kind in (("part", part, FOV_NOT_FOUND), ("two", two, SEVERAL_FIELDS)):
        path = tmp_path / f"{name}.png"
        Image.fromarray(pixels).save(path)
        files = SampleFiles(id=name, image=path, targets={}, fov=None, observer2={})
        found = inspect(Job(split="train", files=files)).findings
        assert kind.code in [one.kind.code for one in found]
