"""fundus-predict: every image gets its mask or its reason, nothing is lost or overwritten."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from checkpoints import random_checkpoint, read_pixels
from conftest import ONE_THREAD, RunCommand, tiny_image, write_tiny_set
from PIL import Image

from fundus_cli.commands import predict_images
from fundus_cli.commands.predict import predict
from fundus_cli.config import Device
from fundus_cli.config.compose import compose_config
from fundus_cli.config.overrides import quoted
from fundus_cli.data.dataset import Dataset, load_dataset
from fundus_cli.data.masks import PLAIN, read_mask
from fundus_cli.data.samples import FundusImage
from fundus_cli.errors import ConfigError, DataError, Interrupted, RunFolderError
from fundus_cli.evaluation.counts import Counts, count
from fundus_cli.evaluation.scoring import score
from fundus_cli.inference.ensembles import Member
from fundus_cli.inference.loading import predictor_of
from fundus_cli.inference.predictor import Predictor
from fundus_cli.run import checkpoint
from fundus_cli.run.signals import StopRequest
from fundus_cli.run.terminal import Terminal
from fundus_cli.runtime.device import choose_device


def call(folder: Path, *overrides: str, stop: StopRequest | None = None) -> list[dict[str, object]]:
    """fundus-predict in this process, with the checkpoint and images of `folder`."""
    given = {
        "checkpoint": str(folder / "net.pt"),
        "input": str(folder / "photos"),
        "output": str(folder / "masks"),
    }
    keys = {line.partition("=")[0] for line in overrides}
    lines = [quoted(key, value) for key, value in given.items() if key not in keys]
    config = compose_config("predict", (*lines, *overrides))
    with Terminal() as terminal:
        return predict(config, stop or StopRequest(), terminal)


def write_image(path: Path, seed: int = 0, size: int = 64, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(tiny_image(seed, size)[0]).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """net.pt and photos/ with three images."""
    random_checkpoint(tmp_path / "net.pt")
    for seed in range(3):
        write_image(tmp_path / "photos" / f"p{seed}.png", seed)
    return tmp_path


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "masks" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def masks(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "masks").glob("*.png"))


def test_a_mask_is_what_the_network_says_inside_the_field_of_view(folder: Path) -> None:
    rows = call(folder, "probability=true", "fov_mask=true", "overlay=true")
    assert [row["image"] for row in rows] == ["p0.png", "p1.png", "p2.png"]
    out = folder / "masks"
    for row in table(folder):
        mask = read_pixels(out / row["mask"])
        probability = read_pixels(out / "probability" / row["mask"])
        fov = read_pixels(out / "fov" / row["mask"])
        assert (mask.shape, mask.dtype, set(np.unique(mask))) == ((64, 64), np.uint8, {0, 255})
        assert probability.dtype == np.uint16
        sure = np.abs(probability / 65535 - 0.5) > 1e-4
        assert np.array_equal((mask == 255)[sure], (probability / 65535 >= 0.5)[sure])
        assert probability[fov == 0].max() == 0
        assert int(row["vessel_px"]) == (mask == 255).sum()
        assert int(row["fov_px"]) == (fov == 255).sum()
        share = float(row["vessel_share_of_fov"])
        assert share == pytest.approx((mask == 255).sum() / (fov == 255).sum(), abs=1e-6)
        assert 0.05 < share < 0.95
        assert row["fov_origin"] == "found"
        assert float(row["fov_diameter_px"]) == pytest.approx(0.92 * 64, abs=1.5)
        overlay = read_pixels(out / "overlays" / row["mask"])
        assert overlay.shape == (64, 64, 3)
        inner = (mask == 255) & (read_pixels(folder / "photos" / row["image"]).max(2) > 60)
        assert np.array_equal(np.unique(overlay[inner], axis=0)[0], [86, 180, 233])
    assert json.loads((out / "predict.json").read_text())["threshold"] == 0.5


def test_reading_a_prediction_as_mask_gives_it_back(folder: Path) -> None:
    call(folder)
    for name in masks(folder):
        path = folder / "masks" / name
        assert np.array_equal(read_mask(path, PLAIN, 80) * 255, read_pixels(path))


def test_the_mask_is_upright_and_carries_nothing_of_the_image(folder: Path) -> None:
    upright = Image.fromarray(tiny_image(5, 64)[0][:50])
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    shutil.rmtree(folder / "photos")
    (folder / "photos").mkdir()
    rotated = upright.transpose(Image.Transpose.ROTATE_90)
    rotated.save(folder / "photos" / "turned.png", exif=exif, dpi=(72, 72))
    upright.save(folder / "photos" / "upright.png")
    call(folder, "probability=true", "overlay=true")
    one, other = (folder / "masks" / name for name in ("turned.png", "upright.png"))
    assert read_pixels(one).shape == (50, 64)
    assert np.array_equal(read_pixels(one), read_pixels(other))
    for path in (folder / "masks").rglob("turned.png"):
        with Image.open(path) as image:
            assert image.info == {}
            assert not image.getexif()


def test_one_broken_of_ten_costs_only_itself_and_a_second_call_does_what_is_missing(
    tmp_path: Path, command: RunCommand
) -> None:
    random_checkpoint(tmp_path / "net.pt")
    for seed in range(9):
        write_image(tmp_path / "photos" / f"p{seed}.png", seed)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no image")
    arguments = ("checkpoint=net.pt", "input=photos/", "output=masks/")
    result = command("predict", *arguments)
    assert result.returncode == 3, result.stderr
    first, second = result.stderr.strip().splitlines()
    assert first == (
        "fundus-predict: input=photos/: 9 images predicted, the others were not "
        "(a pattern such as photos/*.jpg leaves files out):"
    )
    # The folder is said once, not before every name.
    assert second.endswith("(1): broken.jpg [Truncated File Read]")
    assert "generated" not in result.stdout
    assert "9 images predicted" in result.stdout
    assert masks(tmp_path) == [f"p{seed}.png" for seed in range(9)]
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "masks").glob("*.png")}
    (tmp_path / "masks" / "p4.png").unlink()
    write_image(tmp_path / "photos" / "broken.jpg", 9, quality=95)
    result = command("predict", *arguments)
    assert result.returncode == 0, result.stderr
    assert "2 images predicted" in result.stdout
    assert "8 already existed" in result.stdout
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "masks").glob("*.png")}
    assert {name for name in after if after[name] != before.get(name)} == {"broken.png", "p4.png"}
    assert len(table(tmp_path)) == 10


def test_a_network_of_drawings_says_so(tmp_path: Path, command: RunCommand) -> None:
    random_checkpoint(tmp_path / "net.pt", "data=demo")
    write_image(tmp_path / "p.png", 0)
    result = command("predict", "checkpoint=net.pt", "input=p.png", "output=masks")
    assert result.returncode == 0, result.stderr
    note, *_, done, _ = result.stdout.splitlines()
    assert note.startswith("note: this network was trained on synthetic images alone")
    assert "experiment=vessels_demo" in note
    assert done.startswith("1 image predicted in ")


def test_files_of_others_and_images_are_not_overwritten(folder: Path) -> None:
    (folder / "masks").mkdir()
    (folder / "masks" / "p1.png").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"different content.*overwrite=true.*p1\.png"):
        call(folder)
    assert (folder / "masks" / "p1.png").read_bytes() == b"mine"
    assert len(table(folder)) == 2
    call(folder, "overwrite=true")
    assert read_pixels(folder / "masks" / "p1.png").shape == (64, 64)
    with pytest.raises(ConfigError, match="is one of the input images"):
        call(folder, quoted("output", str(folder / "photos")), "overwrite=true")


def test_a_lost_table_is_made_again_without_touching_the_masks(folder: Path) -> None:
    call(folder)
    rows, times = table(folder), [p.stat().st_mtime_ns for p in (folder / "masks").glob("*.png")]
    (folder / "masks" / "predictions.csv").unlink()
    call(folder)
    assert table(folder) == rows
    assert [p.stat().st_mtime_ns for p in (folder / "masks").glob("*.png")] == times


def test_masks_of_two_thresholds_are_not_mixed(folder: Path) -> None:
    call(folder)
    with pytest.raises(RunFolderError, match=r"another threshold.*overwrite=true"):
        call(folder, "threshold=0.3")
    call(folder, "threshold=0.3", "overwrite=true")
    assert json.loads((folder / "masks" / "predict.json").read_text())["threshold"] == 0.3


def test_names_are_kept_and_never_collide(folder: Path) -> None:
    long = "n" * 246
    names = ["a b.png", "é=1,#'.png", "日本 (1).png", f"{long}.png", "twin.png", "twin.jpg"]
    names += [unicodedata.normalize("NFD", "ñ.png"), "Case.png", "case.tif"]
    shutil.rmtree(folder / "photos")
    for seed, name in enumerate(names):
        write_image(folder / "photos" / name, seed)
    call(folder)
    kept = {"a b.png", "é=1,#'.png", "日本 (1).png", f"{long}.png"}
    assert kept <= set(masks(folder))
    assert {"twin.png.png", "twin.jpg.png", "Case.png.png", "case.tif.png"} <= set(masks(folder))
    assert len(masks(folder)) == len(names)
    by_image = {row["image"]: row["mask"] for row in table(folder)}
    assert len(set(by_image.values())) == len(names)
    assert by_image["ñ.png"] == "ñ.png"
    assert not list((folder / "masks").glob(".*.tmp"))


def test_a_name_that_is_no_utf8_is_predicted_too(folder: Path, command: RunCommand) -> None:
    name = os.fsdecode(b"bad\xff.png")
    (folder / "photos" / name).write_bytes((folder / "photos" / "p0.png").read_bytes())
    result = command("predict", "checkpoint=net.pt", "input=photos", "output=masks", LC_ALL="POSIX")
    assert result.returncode == 0, result.stderr
    assert (folder / "masks" / name).is_file()
    assert "bad\\xff.png" in [row["image"] for row in table(folder)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_traps_in_the_folder_are_named_and_nothing_hangs(folder: Path, command: RunCommand) -> None:
    photos = folder / "photos"
    os.mkfifo(photos / "pipe.png")
    (photos / "folder.png").mkdir()
    (photos / "self.png").symlink_to("self.png")
    (photos / "gone.png").symlink_to("nowhere.png")
    (photos / "loop").symlink_to(photos)
    for junk in (".DS_Store", "._a.png", "Thumbs.db", "notes.txt"):
        (photos / junk).write_bytes(b"x")
    for source in ("input=photos", 'input="photos/**/*.png"'):
        result = command(
            "predict", "checkpoint=net.pt", source, "output=masks", "overwrite=true", timeout=60
        )
        assert result.returncode == 3, result.stderr
        for name in ("pipe.png", "folder.png", "self.png", "gone.png"):
            assert name in result.stderr
        assert "Traceback" not in result.stderr
        assert masks(folder) == ["p0.png", "p1.png", "p2.png"]


def test_bombs_and_foreign_formats_are_refused(folder: Path) -> None:
    photos = folder / "photos"
    Image.new("L", (13_500, 13_500)).save(photos / "bomb.png")
    (photos / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (photos / "picture.png").write_bytes(b"8BPS\0\1" + bytes(100))
    with pytest.raises(DataError) as caught:
        call(folder)
    text = str(caught.value)
    assert "is larger than max_megapixels allows (1): " in text
    for name in ("bomb.png [", "script.png", "picture.png"):
        assert name in text
    assert len(masks(folder)) == 3
    with pytest.raises(DataError, match=r"\[64x64\]"):
        call(folder, "max_megapixels=0.004", "overwrite=true")


def test_pictures_that_are_no_fundus_images_are_flagged(folder: Path) -> None:
    photos = folder / "photos"
    shutil.rmtree(photos)
    fundus = tiny_image(0, 256)[0]
    pictures = {
        "good.png": fundus,
        "dark.png": fundus // 6,
        "blue.png": np.ascontiguousarray(fundus[..., ::-1]),
        "half.png": fundus[:, :110],
        "scene.png": np.full((90, 120, 3), (90, 120, 160), np.uint8),
    }
    photos.mkdir()
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(photos / name)
    call(folder)
    warnings = {row["image"]: row["warnings"] for row in table(folder)}
    assert warnings["good.png"] == ""
    assert "too dark" in warnings["dark.png"]
    assert "not a fundus image? mean red, green, blue" in warnings["blue.png"]
    assert "cut off" in warnings["half.png"]
    assert "no dark surround" in warnings["scene.png"]
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(photos / "black.png")
    with pytest.raises(DataError, match=r"all black.*black\.png"):
        call(folder)


def test_a_field_of_view_mask_is_used_where_there_is_one(folder: Path) -> None:
    fields = folder / "fields"
    fields.mkdir()
    small = np.zeros((64, 64), np.uint8)
    small[20:44, 20:44] = 255
    Image.fromarray(small).save(fields / "p1_mask.gif")
    template = quoted("fov", str(fields / "{id}_mask.gif"))
    call(folder, template)
    origins = {row["image"]: row["fov_origin"] for row in table(folder)}
    assert origins == {"p0.png": "found", "p1.png": "file", "p2.png": "found"}
    mask = read_pixels(folder / "masks" / "p1.png")
    assert mask[small == 0].max() == 0
    assert mask.max() == 255


def test_a_pattern_keeps_the_folders_below(folder: Path) -> None:
    write_image(folder / "photos" / "left" / "p0.png", 7)
    pattern = quoted("input", str(folder / "photos" / "**" / "p0.*"))
    call(folder, pattern)
    names = [row["image"] for row in table(folder)]
    assert names == ["left/p0.png", "p0.png"]
    assert (folder / "masks" / "left" / "p0.png").is_file()
    with pytest.raises(DataError, match="no image found"):
        call(folder, quoted("input", str(folder / "photos" / "*.bmp")))
    with pytest.raises(DataError, match="does not exist"):
        call(folder, quoted("input", str(folder / "nowhere")))


def test_an_ensemble_is_the_mean_of_its_members_logits(folder: Path) -> None:
    random_checkpoint(folder / "other.pt", "model.base_channels=6", seed=3, threshold=0.3)
    names = [folder / "net.pt", folder / "other.pt"]
    logits = []
    for number, checkpoints in enumerate(([names[0]], [names[1]], names)):
        out = folder / f"m{number}"
        listed = ",".join(f'"{path}"' for path in checkpoints)
        lines = (f"checkpoint=[{listed}]", quoted("output", str(out)), "probability=true")
        call(folder, *lines)
        probability = read_pixels(out / "probability" / "p0.png") / 65535
        inside = (probability > 0.001) & (probability < 0.999)
        logits.append(
            (
                inside,
                np.log(probability.clip(1e-5, 1 - 1e-5) / (1 - probability.clip(1e-5, 1 - 1e-5))),
            )
        )
    inside = logits[0][0] & logits[1][0]
    mean = (logits[0][1] + logits[1][1]) / 2
    assert np.abs(mean - logits[2][1])[inside].max() < 0.02
    settings = json.loads((folder / "m2" / "predict.json").read_text())
    assert settings["threshold"] == pytest.approx(0.4)
    random_checkpoint(folder / "wide.pt", "data.fov_diameter_px=80")
    listed = f'checkpoint=["{names[0]}","{folder / "wide.pt"}"]'
    with pytest.raises(DataError, match=r"fov_diameter_px=None.*80"):
        call(folder, listed, quoted("output", str(folder / "m3")))


def test_the_cameras_angle_sets_the_scale(folder: Path) -> None:
    """A camera of 30 degrees at 90 px for 45 is worked on as one of 45 at 60 px."""

    def drawn(name: str, *lines: str) -> list[bytes]:
        call(folder, quoted("checkpoint", str(folder / name)), "overwrite=true", *lines)
        return [(folder / "masks" / mask).read_bytes() for mask in masks(folder)]

    random_checkpoint(folder / "60.pt", "data.fov_diameter_px=60")
    random_checkpoint(folder / "90.pt", "data.fov_diameter_px=90")
    wanted = drawn("60.pt")
    assert drawn("90.pt") != wanted
    assert drawn("90.pt", "fov_angle_deg=30") == wanted
    with pytest.raises(RunFolderError, match="another fov_angle_deg"):
        call(folder, quoted("checkpoint", str(folder / "90.pt")))
    with pytest.raises(ConfigError, match="fov_angle_deg=3"):
        call(folder, "fov_angle_deg=3")


def test_members_of_two_cameras_ask_for_the_angle(folder: Path) -> None:
    for name, angle in (("a.pt", 30), ("b.pt", 45)):
        random_checkpoint(folder / name, "data.fov_diameter_px=60", f"data.fov_angle_deg={angle}")
    listed = f'checkpoint=["{folder / "a.pt"}","{folder / "b.pt"}"]'
    with pytest.raises(ConfigError, match="cameras of 30 and 45 degrees"):
        call(folder, listed)
    assert len(call(folder, listed, "fov_angle_deg=45")) == 3


def test_at_native_size_no_angle_is_asked_for_and_none_is_taken(folder: Path) -> None:
    for name, angle in (("a.pt", 30), ("b.pt", 45)):
        random_checkpoint(folder / name, f"data.fov_angle_deg={angle}")
    assert len(call(folder, f'checkpoint=["{folder / "a.pt"}","{folder / "b.pt"}"]')) == 3
    with pytest.raises(ConfigError, match=r"fov_angle_deg=30: .* leave it out"):
        call(folder, "fov_angle_deg=30")


def test_mirrors_are_averaged(folder: Path) -> None:
    call(folder, "probability=true", "tta=true")
    shutil.move(folder / "masks", folder / "straight")
    for path in (folder / "photos").iterdir():
        mirrored = np.ascontiguousarray(read_pixels(path)[:, ::-1])
        Image.fromarray(mirrored).save(path)
    call(folder, "probability=true", "tta=true")
    for path in (folder / "straight" / "probability").iterdir():
        again = read_pixels(folder / "masks" / "probability" / path.name)[:, ::-1]
        assert np.abs(again.astype(int) - read_pixels(path)).max() <= 60


def test_several_structures_have_a_folder_each(folder: Path) -> None:
    random_checkpoint(
        folder / "net.pt",
        "~data.train.targets.vessel",
        '+data.train.targets.artery="a/{id}.png"',
        '+data.train.targets.vein="v/{id}.png"',
        "data.test=null",
    )
    call(folder)
    row = table(folder)[0]
    for structure in ("artery", "vein"):
        mask = read_pixels(folder / "masks" / structure / row["mask"])
        assert int(row[f"{structure}_px"]) == (mask == 255).sum() > 0


def test_scoring_the_written_masks_gives_what_eval_says(tmp_path: Path) -> None:
    root = write_tiny_set(tmp_path / "data", train=2, test=4)
    config = random_checkpoint(tmp_path / "net.pt", quoted("data.root", str(root)))
    call(tmp_path, quoted("input", str(root / "test_images")))
    saved = checkpoint.load(tmp_path / "net.pt")
    dataset = load_dataset(config.data)
    evaluation = score(member_of(saved, dataset), "folder", "test")
    assert (
        scored(dataset.samples["test"], tmp_path / "masks") == evaluation.pooled("vessel")["dice"]
    )


def member_of(saved: checkpoint.Checkpoint, dataset: Dataset) -> Member:
    """The network of a checkpoint with the test images."""
    return Member(
        name="",
        saved=saved,
        predictor=predictor_of(saved, choose_device(Device.cpu)),
        samples=dataset.samples["test"],
        threshold=saved.threshold,
    )


def scored(samples: Sequence[object], folder: Path) -> float:
    """Pooled Dice of written masks inside the field of view."""
    counts = Counts.zero()
    for sample in samples:
        mask = read_mask(folder / f"{sample.id}.png", PLAIN, 80).astype(bool)  # type: ignore[attr-defined]
        fov = sample.native_fov.unpack()[0]  # type: ignore[attr-defined]
        counts += count(mask, sample.native_targets.unpack()[0], fov)  # type: ignore[attr-defined]
    return counts.metrics()["dice"]


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "images"), [("chasedb1", "*.jpg"), ("hrf", "images/*.[jJ]*")])
def test_real_images_score_as_eval_says(
    tmp_path: Path, real_data: Path, preset: str, images: str
) -> None:
    root = real_data / {"chasedb1": "CHASE_DB1", "hrf": "HRF"}[preset]
    config = random_checkpoint(
        tmp_path / "net.pt",
        f"data={preset}",
        quoted("data.root", str(root)),
        "data.fov_diameter_px=560",
    )
    dataset = load_dataset(config.data, ["test"])
    fov = [quoted("fov", str(root / "mask" / "{id}_mask.tif"))] if preset == "hrf" else []
    call(tmp_path, quoted("input", str(root / images)), *fov)
    saved = checkpoint.load(tmp_path / "net.pt")
    evaluation = score(member_of(saved, dataset), preset, "test")
    prefix = "Image_" if preset == "chasedb1" else ""
    for path in (tmp_path / "masks").glob(f"{prefix}*.png"):
        path.rename(path.with_name(path.name.removeprefix(prefix)))
    found = scored(dataset.samples["test"], tmp_path / "masks")
    assert found == pytest.approx(evaluation.pooled("vessel")["dice"], abs=1e-4)
    assert found > 0


def test_a_signal_stops_between_two_images(folder: Path) -> None:
    stop = StopRequest()
    stop.signum = signal.SIGTERM
    with pytest.raises(Interrupted, match="1 of 3 images done; the same command"):
        call(folder, stop=stop)
    # Those already under way are finished, so they are whole; the table names what is counted.
    assert len(table(folder)) == 1
    call(folder)
    assert len(table(folder)) == 3


def test_killed_midway_every_image_is_whole(tmp_path: Path) -> None:
    random_checkpoint(tmp_path / "net.pt")
    for seed in range(40):
        write_image(tmp_path / "photos" / f"p{seed:02}.png", seed, 128)
    arguments = ["checkpoint=net.pt", "input=photos", "output=masks", "probability=true"]
    command = [sys.executable, "-m", "fundus_cli", "predict", *arguments]
    environment = {**os.environ, **ONE_THREAD}
    child = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and len(list((tmp_path / "masks").glob("*.png"))) < 5:
        time.sleep(0.01)
    child.kill()
    child.wait()
    written = masks(tmp_path)
    assert len(written) >= 5
    for name in written:
        assert read_pixels(tmp_path / "masks" / name).shape == (128, 128)
        assert read_pixels(tmp_path / "masks" / "probability" / name).shape == (128, 128)
    result = subprocess.run(command, cwd=tmp_path, env=environment, timeout=100, check=False)
    assert result.returncode == 0
    assert len(masks(tmp_path)) == len(table(tmp_path)) == 40
    assert not list((tmp_path / "masks").rglob(".*.tmp"))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("checkpoint=[a.pt,a.pt]", "checkpoint=.*several different ones"),
        ("checkpoint=[]", "checkpoint=.*must be a checkpoint file"),
        ("checkpoint=3", "checkpoint=3: must be a checkpoint file"),
        ("threshold=1.2", "threshold=1.2: must be"),
        ("max_megapixels=0", "max_megapixels=0.0: must be"),
        ('fov="a{id}/b.png"', "fov=.*in its file name only"),
    ],
)
def test_a_mistake_is_told_before_anything_is_read(
    tmp_path: Path, override: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        call(tmp_path, override)
    assert not (tmp_path / "masks").exists()


def test_an_image_that_vanishes_or_does_not_fit_costs_only_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_sha256, plain_probability = predict_images.file_sha256, Predictor.probability

    def vanishing(path: Path) -> str:
        if path.name == "p0.png":
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return plain_sha256(path)

    def small_memory(self: Predictor, image: FundusImage) -> np.ndarray:
        if image.id == "p2.png":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return plain_probability(self, image)

    monkeypatch.setattr(predict_images, "file_sha256", vanishing)
    monkeypatch.setattr(Predictor, "probability", small_memory)
    with pytest.raises(DataError, match="1 image predicted") as error:
        call(folder)
    assert "cannot be opened (1): p0.png [No such file or directory]" in str(error.value)
    assert "does not fit into memory (1): p2.png [64x64]" in str(error.value)
    assert masks(folder) == ["p1.png"]


def test_a_jpeg_with_fifty_megabytes_of_metadata_is_refused_at_once(folder: Path) -> None:
    path = write_image(folder / "photos" / "odd.jpg")
    plain = path.read_bytes()
    segment = b"\xff\xe1" + (65_000).to_bytes(2, "big") + b"Exif\0\0" + bytes(64_992)
    path.write_bytes(plain[:2] + 800 * segment + plain[2:])
    started = time.monotonic()
    with pytest.raises(DataError, match="too much metadata") as error:
        call(folder)
    assert "odd.jpg [8 MB]" in str(error.value)
    assert time.monotonic() - started < 20
    assert masks(folder) == ["p0.png", "p1.png", "p2.png"]
    # A little of it is what cameras write.
    path.write_bytes(plain[:2] + 20 * segment + plain[2:])
    assert call(folder)[0]["image"] == "odd.jpg"


def test_a_mask_does_not_come_to_look_like_that_of_another_image(folder: Path) -> None:
    write_image(folder / "photos" / "y.jpg", 7)
    call(folder, "probability=true")
    before = read_pixels(folder / "masks" / "y.png")
    write_image(folder / "photos" / "y.png", 8)
    rows = {row["image"]: row["mask"] for row in call(folder, "probability=true")}
    assert (rows["y.jpg"], rows["y.png"]) == ("y.jpg.png", "y.png.png")
    assert "y.png" not in masks(folder)
    assert not (folder / "masks" / "probability" / "y.png").exists()
    np.testing.assert_array_equal(read_pixels(folder / "masks" / "y.jpg.png"), before)
    assert not np.array_equal(read_pixels(folder / "masks" / "y.png.png"), before)
    assert {row["image"]: row["mask"] for row in table(folder)} == rows


def test_a_table_from_elsewhere_moves_no_other_files(folder: Path) -> None:
    call(folder)
    outside = folder / "precious.png"
    outside.write_bytes(b"mine")
    place = folder / "masks" / "predictions.csv"
    place.write_text(place.read_text().replace(",p0.png,", ",../precious.png,"))
    call(folder)
    assert outside.read_bytes() == b"mine"
    assert masks(folder) == ["p0.png", "p1.png", "p2.png"]


def test_what_is_not_read_is_counted_and_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.heic", "b.dcm", "c.DCM", "d", "notes.txt"):
        (folder / "photos" / name).write_bytes(b"x")
    write_image(folder / "photos" / "left" / "e.png")
    assert len(call(folder)) == 3
    printed = capsys.readouterr().out
    assert "warning: input=" in printed
    assert "not read: 1 without an ending, 2 .dcm, 1 .heic (read are TIFF," in printed
    assert "1 image in subfolders: left/ (1); 'input=" in printed
    assert "notes" not in printed and ".txt" not in printed
    with pytest.raises(DataError, match=r"no image found; the folder holds 1 image in subfolders"):
        (folder / "above" / "x").mkdir(parents=True)
        write_image(folder / "above" / "x" / "e.png")
        call(folder, quoted("input", str(folder / "above")))
