"""The repaired copy: unambiguous problems are fixed, and training accepts it."""

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import RunCommand, small
from PIL import Image

from fundus_cli.check.inspect_dataset import survey
from fundus_cli.check.repair import Repair, refuse_place, repair
from fundus_cli.config import DataConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.data.dataset import Dataset, load_dataset
from fundus_cli.errors import RunFolderError


def config(root: Path, *overrides: str, config_dir: Path | None = None) -> DataConfig:
    words = (f"data.root={root}", "data.fov_diameter_px=null", *overrides)
    if not any(word.startswith("data=") for word in words):
        words = ("data=folder", *words)
    return compose_config("train", words, config_dir).data


def repaired(data: DataConfig, folder: Path) -> Repair:
    assert data.root is not None
    folder.mkdir(parents=True, exist_ok=True)
    result = survey(data, Path(data.root), None, lambda total: None)
    return repair(result, folder, lambda total: None)


def target(dataset: Dataset, identifier: str) -> np.ndarray:
    samples = [s for split in dataset.samples.values() for s in split if s.id == identifier]
    (sample,) = samples
    return sample.native_targets.unpack()[0]


def whats(made: Repair, of: str) -> list[str]:
    return [change.what for change in made.changes if of in (change.source, change.file)]


def digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def hurt(tiny_set: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """p0 inverted, p1 of 0/1, p2 a palette, p3 named P3, p4 rotated by EXIF, p5 a JPEG mask."""
    masks = tiny_set / "train_masks"
    true = {f"p{n}": np.array(Image.open(masks / f"p{n}.png")) > 0 for n in range(6)}
    Image.fromarray(~true["p0"]).save(masks / "p0.png")
    Image.fromarray(true["p1"].astype(np.uint8)).save(masks / "p1.png")
    palette = Image.fromarray(true["p2"].astype(np.uint8), "P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    palette.save(masks / "p2.png")
    (masks / "p3.png").rename(masks / "P3.png")
    tags = Image.Exif()
    tags[0x0112] = 3
    image = tiny_set / "train_images" / "p4.png"
    Image.open(image).transpose(Image.Transpose.ROTATE_180).save(image, exif=tags)
    Image.fromarray(true["p4"][::-1, ::-1]).save(masks / "p4.png")
    (masks / "p5.png").unlink()
    Image.fromarray(true["p5"].astype(np.uint8) * 255).save(masks / "p5.jpg", quality=85)
    return tiny_set, true


def test_unambiguous_problems_are_fixed_and_the_rest_is_left_out(
    hurt: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    root, true = hurt
    before = digest(root)
    made = repaired(config(root), tmp_path / "out")
    assert digest(root) == before
    assert whats(made, "train_masks/p0.png") == ["mask made 0/255", "mask inverted"]
    assert whats(made, "train_masks/p1.png") == ["mask made 0/255"]
    assert whats(made, "train_masks/p2.png") == ["mask made 0/255"]
    assert whats(made, "train_masks/P3.png") == ["mask paired by its name"]
    assert whats(made, "train_images/p4.png")[0] == "saved upright"
    assert "mask rotated" in whats(made, "train_masks/p4.png")
    assert whats(made, "train_images/p5.png") == ["left out"]
    (lost,) = [change for change in made.changes if change.is_lost]
    assert "train_masks/p5.jpg" in lost.why
    assert "not two-valued" in lost.why
    assert (made.written, made.after.findings) == ({"train": 5, "test": 2}, [])
    dataset = load_dataset(config(tmp_path / "out"))
    for name in ("p0", "p1", "p2", "p3", "p4"):
        assert np.array_equal(target(dataset, name), true[name]), name
    everyone = [s for split in dataset.samples.values() for s in split]
    assert {s.fov_origin for s in everyone} == {"file"}
    assert all(set(np.unique(np.array(Image.open(p)))) <= {0, 255} for p in
               (tmp_path / "out").glob("*_masks/*"))  # fmt: skip


def test_a_rule_decides_ambiguous_masks(
    hurt: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    root, true = hurt
    made = repaired(config(root, "data.mask_threshold=0.5"), tmp_path / "out")
    assert made.written["train"] == 6
    assert made.after.findings == []
    dataset = load_dataset(config(tmp_path / "out"))
    assert all(np.array_equal(target(dataset, name), mask) for name, mask in true.items())


def test_a_rule_that_would_empty_a_mask_leaves_the_image_out(
    tiny_set: Path, tmp_path: Path
) -> None:
    path = tiny_set / "train_masks" / "p0.png"
    labels = np.array(Image.open(path)) // 255
    labels[:, 32:] *= 2
    Image.fromarray(labels).save(path)
    made = repaired(config(tiny_set, "data.mask_threshold=0.5"), tmp_path / "out")
    assert whats(made, "train_images/p0.png") == ["left out"]
    assert made.written["train"] == 5
    made = repaired(config(tiny_set, "data.mask_foreground=[1,2]"), tmp_path / "out2")
    assert made.written["train"] == 6
    dataset = load_dataset(config(tmp_path / "out2"))
    assert np.array_equal(target(dataset, "p0"), labels > 0)


def test_copies_and_doubled_files_leave_one(tiny_set: Path, tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        content = (tiny_set / f"test_{kind}/p6.png").read_bytes()
        (tiny_set / f"train_{kind}/z.png").write_bytes(content)
    equal = tiny_set / "train_images/p0.bmp"
    Image.open(tiny_set / "train_images/p0.png").save(equal)
    Image.new("RGB", (64, 64), (90, 80, 70)).save(tiny_set / "train_images/p1.bmp")
    made = repaired(config(tiny_set), tmp_path / "out")
    left = {change.source: change.why for change in made.changes if not change.file}
    assert left["train_images/z.png"] == "the same image as test_images/p6.png"
    assert any("p1.bmp and p1.png differ" in why for why in left.values())
    assert len(left) == 2
    assert made.written == {"train": 5, "test": 2}
    load_dataset(config(tmp_path / "out"))


def test_several_structures_persons_and_observers_are_kept_in_a_preset(
    tiny_set: Path, tmp_path: Path
) -> None:
    (tiny_set / "veins").mkdir()
    (tiny_set / "second").mkdir()
    for path in sorted(tiny_set.glob("*_masks/*.png")):
        pixels = np.array(Image.open(path))
        pixels[:, ::2] = 0
        Image.fromarray(pixels // 255).save(tiny_set / "veins" / path.name)
        (tiny_set / "second" / path.name).write_bytes(path.read_bytes())
    base = config(tiny_set)
    assert base.test is not None
    split = replace(
        base.train,
        targets={"artery": "train_masks/{id}.*", "vein": "veins/{id}.*"},
        observer2={"artery": "second/{id}.*"},
        ids=["p[0-5]"],
    )
    test = replace(
        base.test,
        targets={"artery": "test_masks/{id}.*", "vein": "veins/{id}.*"},
        ids=["p6", "p7"],
    )
    data = replace(base, train=split, test=test, person=r"p(\d)", val_fraction=0.4)
    made = repaired(data, tmp_path / "out")
    assert made.written == {"train": 6, "test": 2}
    again = config(tmp_path / "out", "data=repaired", config_dir=tmp_path / "out" / "configs")
    assert (again.person, again.val_fraction) == (r"p(\d)", 0.4)
    before, after = load_dataset(data), load_dataset(again)
    for name, samples in before.samples.items():
        assert [s.id for s in after.samples[name]] == [s.id for s in samples]
        for one, other in zip(samples, after.samples[name], strict=True):
            assert np.array_equal(one.native_targets.bits, other.native_targets.bits)
            assert set(other.native_observer2) == set(one.native_observer2)


def test_a_copy_is_never_made_in_the_data_set(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for place in (tmp_path / "data", tmp_path / "data" / "new", tmp_path / "data/../data/x"):
        with pytest.raises(RunFolderError, match="is inside the data set"):
            refuse_place(place, tmp_path / "data")
    (tmp_path / "out" / "train_images").mkdir(parents=True)
    with pytest.raises(RunFolderError, match=r"output=.*already contains train_images"):
        refuse_place(tmp_path / "out", tmp_path / "data")
    refuse_place(tmp_path / "other", tmp_path / "data")


def test_the_command_repairs_and_training_accepts_the_copy(
    command: RunCommand, tmp_path: Path, hurt: tuple[Path, dict[str, np.ndarray]]
) -> None:
    root, _ = hurt
    result = command("check", f"data.root={root}", "fix=true", "output=repaired")
    assert result.returncode == 3
    assert "1 images left out of the repaired copy" in result.stderr
    assert "fundus-train data.root=repaired" in result.stdout
    with (tmp_path / "repaired" / "changes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"mask inverted", "mask rotated", "saved upright", "left out"} <= {
        r["what"] for r in rows
    }
    report = json.loads((tmp_path / "repaired" / "report.json").read_text())["repair"]
    assert report["written"] == {"train": 5, "test": 2}
    assert report["still_wrong"] == []
    trained = command("train", "data.root=repaired", *small("epochs=1", "output=run"))
    assert trained.returncode == 0, trained.stderr
    preset = command(
        *("train", "--config-dir", "repaired/configs", "data=repaired", "data.root=repaired"),
        *small("epochs=1", "output=run2"),
    )
    assert preset.returncode == 0, preset.stderr
