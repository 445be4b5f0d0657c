"""Synthetic images: growth of the vessels, rendering, properties of the images, files."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, gaussian_filter

from fundus_cli.config import DemoConfig
from fundus_cli.errors import MachineError
from fundus_cli.synthetic import write_set
from fundus_cli.synthetic.camera import Frame, aim
from fundus_cli.synthetic.render import SyntheticImage, render_image, smooth_noise, splat
from fundus_cli.synthetic.vessel_growth import grow_vessels
from fundus_cli.synthetic.vessel_tree import (
    STEP,
    Eye,
    VesselPieces,
    heading_of,
    murray_angles,
    murray_diameters,
    rotated,
    unit,
)

STRUCTURES = ("vessel", "artery", "vein", "disc", "fov")
KINDS = ("images", "masks", "fov", "arteries", "veins", "discs")


@pytest.fixture(scope="module")
def synthetic_images() -> list[SyntheticImage]:
    return [render_image(0, index, 256) for index in range(6)]


@pytest.fixture(scope="module")
def grown() -> list[tuple[Eye, VesselPieces]]:
    pairs = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        eye, _ = aim(rng, 256)
        pairs.append((eye, grow_vessels(rng, eye)))
    return pairs


def contrast(channel: np.ndarray, vessel: np.ndarray, fov: np.ndarray) -> float:
    """Median over vessel pixels of 1 - level / level of the vessel-free pixels around them."""
    free = fov & ~binary_dilation(vessel)
    sigma = 6 * len(channel) / 256
    around = gaussian_filter(channel * free, sigma) / (gaussian_filter(free * 1.0, sigma) + 1e-9)
    inner = vessel & (around > 1)
    return float(np.median(1 - channel[inner] / around[inner]))


# Murray's law


def test_daughters_of_equal_size_by_hand() -> None:
    # d1^3 = d2^3 = 1/2
    larger, smaller = murray_diameters(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(larger, [0.793701, 1.587401], atol=1e-6)
    np.testing.assert_allclose(smaller, larger)


def test_daughters_of_unequal_size_by_hand() -> None:
    # 27 = d1^3 (1 + 1/8): d1^3 = 24; and a daughter of no size takes nothing
    larger, smaller = murray_diameters(np.array([3.0, 3.0]), np.array([0.5, 0.0]))
    np.testing.assert_allclose(larger, [24 ** (1 / 3), 3.0])
    np.testing.assert_allclose(smaller, [0.5 * 24 ** (1 / 3), 0.0])


def test_cubes_of_the_diameters_add_up() -> None:
    ratio = np.linspace(0, 1, 11)
    parent = np.linspace(0.01, 0.1, 11)
    larger, smaller = murray_diameters(parent, ratio)
    np.testing.assert_allclose(larger**3 + smaller**3, parent**3)
    assert (smaller <= larger).all()


def test_angles_of_equal_daughters_are_37_degrees_each() -> None:
    # cos a = 1 / (2 d^2) with d^3 = 1/2: 2^(2/3) / 2 = 0.7937; Murray gives 75 degrees in all
    larger, smaller = murray_angles(np.array([1.0]))
    np.testing.assert_allclose(np.degrees([larger[0], smaller[0]]), 37.467, atol=1e-3)


def test_a_small_daughter_leaves_at_a_right_angle_and_the_large_one_goes_straight_on() -> None:
    larger, smaller = murray_angles(np.array([0.01]))
    np.testing.assert_allclose(np.degrees([larger[0], smaller[0]]), [0, 90], atol=0.5)


# Vessels


def test_headings_run_from_x_to_y() -> None:
    np.testing.assert_allclose(unit(np.array([0, np.pi / 2])), [[1, 0], [0, 1]], atol=1e-15)
    np.testing.assert_allclose(rotated(np.array([[2.0, 0.0]]), np.pi / 2), [[0, 2]], atol=1e-15)
    np.testing.assert_allclose(heading_of(np.array([[0.0, 3.0], [-1.0, 0.0]])), [np.pi / 2, np.pi])


def test_a_straight_piece_is_sampled_evenly() -> None:
    piece = VesselPieces(
        start=np.array([[1.0, 2.0]]),
        end=np.array([[1.0 + STEP, 2.0]]),
        heading_start=np.zeros(1),
        heading_end=np.zeros(1),
        diameter_start=np.array([0.08]),
        diameter_end=np.array([0.04]),
        is_artery=np.array([True]),
    )
    places, diameter = piece.sample(spacing=STEP / 4)
    np.testing.assert_allclose(places[:, 0], 1 + STEP * np.array([0, 0.25, 0.5, 0.75]))
    np.testing.assert_allclose(places[:, 1], 2)
    np.testing.assert_allclose(diameter, [0.08, 0.07, 0.06, 0.05])


def test_pieces_of_one_kind(grown: list[tuple[Eye, VesselPieces]]) -> None:
    _, pieces = grown[0]
    arteries, veins = pieces.of_kind(True), pieces.of_kind(False)
    assert arteries.is_artery.all()
    assert not veins.is_artery.any()
    assert len(arteries.start) + len(veins.start) == len(pieces.start)


def test_every_vessel_is_connected_to_the_disc(grown: list[tuple[Eye, VesselPieces]]) -> None:
    for _, pieces in grown:
        ends = {tuple(place) for place in pieces.end}
        roots = np.array([place for place in pieces.start if tuple(place) not in ends])
        assert 8 < len(roots) < 30
        assert np.hypot(*roots.T).max() < 0.65


def test_no_vessel_widens_or_stops_short_while_thick(grown: list[tuple[Eye, VesselPieces]]) -> None:
    for eye, pieces in grown:
        assert (pieces.diameter_end < pieces.diameter_start).all()
        starts = {tuple(place) for place in pieces.start}
        is_last = np.array([tuple(place) not in starts for place in pieces.end])
        in_view = np.hypot(*(pieces.end - eye.view_centre).T) < eye.view_radius
        assert pieces.diameter_end[is_last & in_view].max() < 0.02
        # ... and the large ones leave the view
        assert pieces.diameter_end[is_last & ~in_view].max() > 0.03


def test_no_vessel_crosses_the_fovea(grown: list[tuple[Eye, VesselPieces]]) -> None:
    for eye, pieces in grown:
        assert np.hypot(*(pieces.start - eye.fovea).T).min() > 0.3


def test_arteries_are_thinner_than_veins(grown: list[tuple[Eye, VesselPieces]]) -> None:
    for _, pieces in grown:
        arteries, veins = pieces.of_kind(True), pieces.of_kind(False)
        assert arteries.diameter_start.max() < veins.diameter_start.max()


def test_a_narrow_calibre_makes_thin_vessels() -> None:
    eye, _ = aim(np.random.default_rng(0), 256)
    usual = grow_vessels(np.random.default_rng(1), replace(eye, calibre=1.0))
    narrow = grow_vessels(np.random.default_rng(1), replace(eye, calibre=0.5))
    ratio = narrow.diameter_start.max() / usual.diameter_start.max()
    assert ratio == pytest.approx(0.5)


# Rendering


def test_splat_by_hand() -> None:
    plane = splat(
        np.array([[1.5, 2.5], [6.2, 5.9], [99.0, 3.0]]),
        np.array([0.2, 3.0, 3.0]),
        np.array([0.5, 2.0, 9.0]),
        side=9,
    )
    expected = np.zeros((9, 9))
    expected[2, 1] = 0.5
    # Diameter 3, squared distances 1 and 2 of (3 / 2)^2: profile sqrt(5/9) and sqrt(1/9)
    expected[4:7, 5:8] = 2 * np.sqrt(np.array([[1, 5, 1], [5, 9, 5], [1, 5, 1]]) / 9)
    np.testing.assert_allclose(plane, expected, rtol=1e-6)


def test_the_maximum_is_kept_in_any_order() -> None:
    points, width = np.array([[4.5, 4.5], [5.5, 4.5]]), np.array([3.0, 5.0])
    one = splat(points, width, np.array([1.0, 0.3]), 10)
    other = splat(points[::-1], width[::-1], np.array([0.3, 1.0]), 10)
    np.testing.assert_array_equal(one, other)
    assert one[4, 4] == 1.0
    assert one[4, 7] == pytest.approx(0.3 * np.sqrt(1 - 16 / 25))


def test_a_stamp_at_the_border_does_not_wrap_around() -> None:
    plane = splat(np.array([[0.5, 4.5]]), np.array([5.0]), np.array([1.0]), 9)
    assert plane[4, 0] == 1.0
    assert not plane[:, 3:].any()


def test_nothing_to_splat_is_a_black_plane() -> None:
    assert not splat(np.zeros((0, 2)), np.zeros(0), np.zeros(0), 5).any()


def test_noise_is_of_unit_deviation() -> None:
    field = smooth_noise(np.random.default_rng(0), 30, 300)
    assert field.shape == (300, 300)
    assert abs(field.mean()) < 0.15
    assert field.std() == pytest.approx(1, abs=0.25)


def test_sensor_and_eye_coordinates_are_inverse() -> None:
    for seed in range(4):
        _, frame = aim(np.random.default_rng(seed), 100)
        x, y = frame.to_eye()
        pixels = frame.to_pixels(np.stack([x, y], axis=-1).astype(float))
        np.testing.assert_allclose(pixels[7, 31], [31.5, 7.5], atol=1e-3)
        np.testing.assert_allclose(pixels[93, 2], [2.5, 93.5], atol=1e-3)


def test_field_of_view_by_hand() -> None:
    frame = Frame(
        size_px=8,
        scale_px=1.0,
        centre_px=np.array([4.0, 4.0]),
        radius_px=3.0,
        cut_px=2.0,
        rotation=np.eye(2),
        view_centre=np.zeros(2),
    )
    rows = (frame.inside() >= 0.5).sum(axis=1)
    # Rows 2 to 5 reach up and down by 1.5 at most; half widths sqrt(9 - 2.25), sqrt(9 - 0.25).
    np.testing.assert_array_equal(rows, [0, 0, 6, 6, 6, 6, 0, 0])


# Images


def test_shapes_and_types(synthetic_images: list[SyntheticImage]) -> None:
    for synthetic in synthetic_images:
        assert synthetic.image.shape == (256, 256, 3)
        assert synthetic.image.dtype == np.uint8
        for name in STRUCTURES:
            assert getattr(synthetic, name).shape == (256, 256)
            assert getattr(synthetic, name).dtype == np.bool_


def test_the_same_seed_and_index_give_the_same_image(
    synthetic_images: list[SyntheticImage],
) -> None:
    again = render_image(0, 3, 256)
    np.testing.assert_array_equal(again.image, synthetic_images[3].image)
    for name in STRUCTURES:
        np.testing.assert_array_equal(getattr(again, name), getattr(synthetic_images[3], name))


def test_another_seed_index_or_split_gives_another_eye() -> None:
    first = render_image(0, 0, 64)
    for other in (
        render_image(1, 0, 64),
        render_image(0, 1, 64),
        render_image(0, 0, 64, test=True),
    ):
        assert (first.vessel != other.vessel).sum() > 100


def test_vessel_is_artery_or_vein_and_some_cross(synthetic_images: list[SyntheticImage]) -> None:
    for synthetic in synthetic_images:
        np.testing.assert_array_equal(synthetic.vessel, synthetic.artery | synthetic.vein)
        share = (synthetic.artery & synthetic.vein).sum() / synthetic.vessel.sum()
        assert 0.005 < share < 0.3


def test_share_of_vessels(synthetic_images: list[SyntheticImage]) -> None:
    shares = [p.vessel.sum() / p.fov.sum() for p in synthetic_images]
    assert min(shares) > 0.04
    assert max(shares) < 0.18
    assert 0.08 < np.mean(shares) < 0.14


def test_everything_lies_in_a_round_field_of_view(synthetic_images: list[SyntheticImage]) -> None:
    for synthetic in synthetic_images:
        for name in STRUCTURES:
            assert not (getattr(synthetic, name) & ~synthetic.fov).any()
        assert 0.55 < synthetic.fov.mean() < 0.75
        widest = synthetic.fov.sum(axis=1).max()
        assert 0.9 * 256 <= widest <= 0.98 * 256
        # From three pixels off the edge there is only the sensor's own darkness.
        outside = synthetic.image[~binary_dilation(synthetic.fov, iterations=4)]
        assert outside.max() <= 16
        assert synthetic.image[synthetic.fov, 0].mean() > 60


def test_some_fields_of_view_are_cut() -> None:
    fovs = [render_image(0, index, 64).fov for index in range(16)]
    is_cut = [fov.any(axis=1).sum() < 0.97 * fov.any(axis=0).sum() for fov in fovs]
    assert 2 <= sum(is_cut) <= 12


def test_green_is_darker_at_vessels(synthetic_images: list[SyntheticImage]) -> None:
    for synthetic in synthetic_images:
        off_disc = synthetic.fov & ~binary_dilation(synthetic.disc, iterations=3)
        green = synthetic.image[..., 1].astype(float)
        red = synthetic.image[..., 0].astype(float)
        at_green = contrast(green, synthetic.vessel & off_disc, off_disc)
        assert 0.06 < at_green < 0.4
        assert contrast(red, synthetic.vessel & off_disc, off_disc) < at_green


def test_veins_are_darker_than_arteries(synthetic_images: list[SyntheticImage]) -> None:
    def darkness(synthetic: SyntheticImage, mask: np.ndarray) -> float:
        off_disc = synthetic.fov & ~binary_dilation(synthetic.disc, iterations=3)
        return contrast(synthetic.image[..., 1].astype(float), mask & off_disc, off_disc)

    veins = [darkness(p, p.vein & ~p.artery) for p in synthetic_images]
    arteries = [darkness(p, p.artery & ~p.vein) for p in synthetic_images]
    assert np.mean(veins) > 1.1 * np.mean(arteries)


def test_the_disc_is_bright_and_the_ground_reddish(synthetic_images: list[SyntheticImage]) -> None:
    for synthetic in synthetic_images:
        red, green, blue = synthetic.image[synthetic.fov].mean(axis=0)
        assert red > 1.5 * green > 1.5 * blue
        disc = synthetic.disc & ~synthetic.vessel
        assert synthetic.image[disc, 1].mean() > 1.3 * green


def test_the_same_eye_at_every_size(synthetic_images: list[SyntheticImage]) -> None:
    small, large = render_image(0, 0, 128), synthetic_images[0]
    for name in ("disc", "fov"):
        shrunk = getattr(large, name).reshape(128, 2, 128, 2).mean(axis=(1, 3)) >= 0.5
        own = getattr(small, name)
        assert 2 * (shrunk & own).sum() / (shrunk.sum() + own.sum()) > 0.97
    # What is annotated in the small image lies on what is annotated in the large one.
    marked = large.vessel.reshape(128, 2, 128, 2).any(axis=(1, 3))
    assert (small.vessel & binary_dilation(marked)).sum() / small.vessel.sum() > 0.97


def test_there_are_left_and_right_eyes() -> None:
    discs = [render_image(0, index, 64).disc for index in range(16)]
    columns = [np.nonzero(disc)[1].mean() / 64 for disc in discs]
    assert sum(column < 0.45 for column in columns) >= 3
    assert sum(column > 0.55 for column in columns) >= 3


def test_contrast_and_share_are_like_those_of_images(
    synthetic_images: list[SyntheticImage], real_data: Path
) -> None:
    contrasts, shares = [], []
    for name in ("01L", "05R", "09L", "12R"):
        folder = real_data / "CHASE_DB1"
        image = Image.open(folder / f"Image_{name}.jpg").convert("RGB").resize((256, 256))
        marks = Image.open(folder / f"Image_{name}_1stHO.png").convert("L")
        vessel = np.asarray(marks.resize((256, 256), Image.Resampling.BOX)) >= 128
        array = np.asarray(image).astype(float)
        fov = array[..., 0] > 30
        contrasts.append(contrast(array[..., 1], vessel, fov))
        shares.append(vessel.sum() / fov.sum())
    synthetic = [contrast(p.image[..., 1].astype(float), p.vessel, p.fov) for p in synthetic_images]
    assert 0.6 < np.mean(synthetic) / np.mean(contrasts) < 1.6
    assert (
        0.6
        < np.mean([p.vessel.sum() / p.fov.sum() for p in synthetic_images]) / np.mean(shares)
        < 1.6
    )


# Files


def small_config(train: int = 2, test: int = 1, seed: int = 0) -> DemoConfig:
    return DemoConfig(train=train, test=test, size_px=64, seed=seed)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_layout_and_ids(tmp_path: Path) -> None:
    write_set.write_demo(tmp_path / "new" / "demo", small_config(train=2, test=2))
    expected = set()
    for split, names in (("train", ("demo_000", "demo_001")), ("test", ("demo_002", "demo_003"))):
        for kind in KINDS:
            ending = "jpg" if kind == "images" else "png"
            expected |= {f"{split}_{kind}/{name}.{ending}" for name in names}
    assert set(contents(tmp_path / "new" / "demo")) == expected
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["demo"]


def test_files_contain_the_rendered_image(tmp_path: Path) -> None:
    write_set.write_demo(tmp_path / "demo", small_config(train=1, test=1, seed=5))
    for split, name in (("train", "demo_000"), ("test", "demo_001")):
        rendered = render_image(5, 0, 64, test=split == "test")
        with Image.open(tmp_path / "demo" / f"{split}_images" / f"{name}.jpg") as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 64))
            difference = np.abs(np.asarray(image).astype(int) - rendered.image)
        assert 0 < difference.mean() < 8
        for kind, structure in zip(
            KINDS[1:], ("vessel", "fov", "artery", "vein", "disc"), strict=True
        ):
            with Image.open(tmp_path / "demo" / f"{split}_{kind}" / f"{name}.png") as mask:
                assert (mask.format, mask.mode) == ("PNG", "L")
                np.testing.assert_array_equal(
                    np.asarray(mask), np.where(getattr(rendered, structure), 255, 0)
                )


def test_fewer_images_are_the_first_of_more(tmp_path: Path) -> None:
    write_set.write_demo(tmp_path / "few", small_config(train=1, test=1))
    write_set.write_demo(tmp_path / "many", small_config(train=3, test=2))
    few, many = contents(tmp_path / "few"), contents(tmp_path / "many")
    for kind in KINDS:
        ending = "jpg" if kind == "images" else "png"
        train = f"train_{kind}/demo_000.{ending}"
        assert few[train] == many[train]
        assert few[f"test_{kind}/demo_001.{ending}"] == many[f"test_{kind}/demo_003.{ending}"]


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine.txt").write_text("mine")
    write_set.write_demo(tmp_path / "demo", small_config())
    assert contents(tmp_path) == {"demo/mine.txt": b"mine"}


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_an_exception_midway_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail_at_the_second(
        seed: int, index: int, size_px: int, *, test: bool = False
    ) -> SyntheticImage:
        if index == 1:
            assert len(list(tmp_path.rglob("demo_000.*"))) == len(KINDS)
            raise error
        return render_image(seed, index, size_px, test=test)

    monkeypatch.setattr(write_set, "render_image", fail_at_the_second)
    with pytest.raises(type(error)):
        write_set.write_demo(tmp_path / "demo", small_config())
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_finishes_first_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def render_while_another_finishes(
        seed: int, index: int, size_px: int, *, test: bool = False
    ) -> SyntheticImage:
        (tmp_path / "demo").mkdir(exist_ok=True)
        (tmp_path / "demo" / "theirs.txt").write_text("theirs")
        return render_image(seed, index, size_px, test=test)

    monkeypatch.setattr(write_set, "render_image", render_while_another_finishes)
    write_set.write_demo(tmp_path / "demo", small_config(train=1))
    assert contents(tmp_path) == {"demo/theirs.txt": b"theirs"}
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_folder_that_cannot_be_written_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"file/demo: cannot be written .*data\.root=") as caught:
        write_set.write_demo(tmp_path / "file" / "demo", small_config())
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_leftovers_of_a_killed_process_with_the_same_id_are_removed(tmp_path: Path) -> None:
    stale = tmp_path / f".demo.{os.getpid()}.fundus.tmp" / "train_images"
    stale.mkdir(parents=True)
    (stale / "demo_999.jpg").write_text("half")
    write_set.write_demo(tmp_path / "demo", small_config(train=1))
    assert not list(tmp_path.rglob("demo_999.jpg"))
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
