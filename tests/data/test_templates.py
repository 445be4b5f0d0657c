"""Pairing by templates: official layouts, every kind of mismatch, nothing paired by order."""

from dataclasses import replace
from pathlib import Path

import pytest

from fundus_cli.config import DataConfig, SplitConfig
from fundus_cli.config.compose import compose_config
from fundus_cli.data.templates import FileIndex, SampleFiles, listed, match_split
from fundus_cli.errors import Problems


def preset(name: str) -> DataConfig:
    return compose_config("train", (f"data={name}",)).data


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def match(root: Path, split: SplitConfig) -> tuple[list[SampleFiles], list[str]]:
    problems = Problems()
    found = match_split(FileIndex(root), split, "train", problems)
    return found, problems.lines()


PLAIN = SplitConfig(image="images/{id}.*", targets={"vessel": "masks/{id}.*"})


def test_pairs_by_id_with_any_extension_in_any_case(tmp_path: Path) -> None:
    touch(tmp_path, "images/b.JPG", "images/a.png", "images/c.ppm.gz", "images/d.x.TIFF")
    touch(tmp_path, "masks/c.gif", "masks/b.png", "masks/a.TIF", "masks/d.x.bmp")
    found, problems = match(tmp_path, PLAIN)
    assert problems == []
    assert [(f.id, f.image.name, f.targets["vessel"].name) for f in found] == [
        ("a", "a.png", "a.TIF"),
        ("b", "b.JPG", "b.png"),
        ("c", "c.ppm.gz", "c.gif"),
        ("d.x", "d.x.TIFF", "d.x.bmp"),
    ]


def test_all_mismatches_are_reported_at_once(tmp_path: Path) -> None:
    touch(tmp_path, "images/1.png", "images/2.png", "images/3.png", "images/3.jpg", "images/E.png")
    touch(tmp_path, "masks/01.png", "masks/3.png", "masks/4.png", "masks/e.png")
    touch(tmp_path, "masks/2.png", "masks/2.gif")
    _, problems = match(tmp_path, PLAIN)
    text = "\n".join(problems)
    assert "3.jpg and 3.png" in text
    assert "2.gif and 2.png" in text
    assert "1.png (found 01.png" in text
    assert "E.png (found e.png" in text
    assert any("without an image" in p and "4.png" in p for p in problems)
    assert len(problems) <= 4


def test_junk_and_other_files_are_no_images(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png")
    touch(tmp_path, "images/.DS_Store", "images/._a.png", "images/Thumbs.db", "images/desktop.ini")
    touch(tmp_path, "images/~a.png", "images/notes.txt", "images/.ipynb_checkpoints/a.png")
    found, problems = match(tmp_path, PLAIN)
    assert problems == []
    assert [f.id for f in found] == ["a"]


def test_an_empty_folder_names_the_expected_files(tmp_path: Path) -> None:
    line = "train: no image found; expected (1): images/{id}.*"
    assert match(tmp_path, PLAIN)[1] == [f"{line}; there is no folder images"]
    (tmp_path / "images").mkdir()
    assert match(tmp_path, PLAIN)[1] == [f"{line}; the folder is empty"]
    touch(tmp_path, *(f"images/{n}.dcm" for n in "abc"), "images/d", "images/left/a.png")
    (problem,) = match(tmp_path, PLAIN)[1]
    assert problem.startswith(
        f"{line}; the folder holds 1 without an ending, 3 .dcm (read are TIFF,"
    )
    assert problem.endswith("AVIF) and 1 image in subfolders: left/ (1)")


def test_a_list_that_takes_nobody_names_who_is_there(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{kind}/0{n}L.png" for n in range(1, 5) for kind in ("images", "masks")))
    split = replace(PLAIN, ids=["Image_1*"])
    problem = match(tmp_path, split)[1][0]
    assert "4 files fit, with ids 01L to 04L, but none is in data.train.ids=[Image_1*]" in problem


def test_accents_pair_in_either_unicode_form(tmp_path: Path) -> None:
    touch(tmp_path, "images/caf\u00e9.png", "masks/cafe\u0301.png")
    found, problems = match(tmp_path, PLAIN)
    assert problems == []
    assert [f.id for f in found] == ["caf\u00e9"]


@pytest.mark.parametrize("name", ["a b", "a,b", "a=b", "(1)", "日本", "#1", "a'b", "x[1]", "a*"])
def test_odd_names_pair(tmp_path: Path, name: str) -> None:
    touch(tmp_path, f"images/{name}.png", f"masks/{name}.png")
    found, problems = match(tmp_path, PLAIN)
    assert (problems, [f.id for f in found]) == ([], [name])


def test_an_id_that_is_listed_must_be_there(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png")
    split = SplitConfig(image=PLAIN.image, targets=PLAIN.targets, ids=["a", "b", "c*"])
    found, problems = match(tmp_path, split)
    assert [f.id for f in found] == ["a"]
    assert problems == ["train: listed in data.train.ids but not found (1): b"]


def test_listed_takes_names_and_patterns() -> None:
    assert listed("01_h", ["0[1-5]_*"])
    assert not listed("06_h", ["0[1-5]_*"])
    assert listed("x[1]", ["*"])


def test_an_id_may_be_part_of_folder_names(tmp_path: Path) -> None:
    touch(tmp_path, "Images/g_002.png", "GT/g_002/SoftMap/g_002_OD.png", "GT/g_003/other.png")
    split = SplitConfig(
        image="Images/g_{id}.png", targets={"disc": "GT/g_{id}/SoftMap/g_{id}_OD.png"}
    )
    found, problems = match(tmp_path, split)
    assert problems == []
    assert found[0].targets["disc"] == tmp_path / "GT/g_002/SoftMap/g_002_OD.png"


def test_drive(tmp_path: Path) -> None:
    for i in range(21, 41):
        touch(tmp_path, f"training/images/{i}_training.tif", f"training/1st_manual/{i}_manual1.gif")
        touch(tmp_path, f"training/mask/{i}_training_mask.gif")
    for i in range(1, 21):
        touch(tmp_path, f"test/images/{i:02}_test.tif", f"test/1st_manual/{i:02}_manual1.gif")
        touch(tmp_path, f"test/mask/{i:02}_test_mask.gif", f"test/2nd_manual/{i:02}_manual2.gif")
    data = preset("drive")
    found, problems = match(tmp_path, data.train)
    assert (problems, len(found), found[0].id) == ([], 20, "21")
    assert data.test is not None
    found, problems = match(tmp_path, data.test)
    assert (problems, len(found)) == ([], 20)
    assert found[4].observer2["vessel"].name == "05_manual2.gif"
    assert found[4].fov is not None


def test_stare_takes_the_labelled_twenty_of_four_hundred(tmp_path: Path) -> None:
    data = preset("stare")
    assert data.test is not None
    for name in [*data.train.ids, *data.test.ids]:
        touch(tmp_path, f"stare-images/{name}.ppm.gz", f"labels-ah/{name}.ah.ppm.gz")
        touch(tmp_path, f"labels-vk/{name}.vk.ppm")
    touch(tmp_path, "stare-images/im0006.ppm.gz", "stare-images/im0400.ppm")
    for split in (data.train, data.test):
        found, problems = match(tmp_path, split)
        assert (problems, len(found)) == ([], 10)


def test_les_av(tmp_path: Path) -> None:
    for i in range(1, 23):
        touch(tmp_path, f"images/{i}.png", f"masks/{i}_mask.gif", f"vessel-segmentations/{i}.png")
    found, problems = match(tmp_path, preset("les_av").train)
    assert (problems, len(found)) == ([], 22)


def test_the_real_sets_split_as_their_tables_say(real_data: Path) -> None:
    for name, folder, sizes in (("chasedb1", "CHASE_DB1", (8, 20)), ("hrf", "HRF", (15, 30))):
        data = preset(name)
        assert data.test is not None
        train, train_problems = match(real_data / folder, data.train)
        test, test_problems = match(real_data / folder, data.test)
        assert (train_problems, test_problems) == ([], [])
        assert (len(train), len(test)) == sizes
        assert not {f.image for f in train} & {f.image for f in test}


def test_optional_field_of_view_masks_are_all_there_or_none(tmp_path: Path) -> None:
    split = preset("folder").train
    touch(tmp_path, "train_images/a.png", "train_images/b.png")
    touch(tmp_path, "train_masks/a.png", "train_masks/b.png")
    found, problems = match(tmp_path, split)
    assert [f.fov for f in found] == [None, None]
    assert problems == []
    touch(tmp_path, "train_fov/a.png")
    found, problems = match(tmp_path, split)
    assert [f.id for f in found] == ["a"]
    assert len(problems) == 1
    assert "field-of-view mask missing" in problems[0]
    touch(tmp_path, "train_fov/b.gif")
    found, problems = match(tmp_path, split)
    assert [f.fov.name for f in found if f.fov] == ["a.png", "b.gif"]


def test_a_set_in_folders_of_ones_own_is_pointed_to_its_preset(tmp_path: Path) -> None:
    touch(tmp_path, "train_images/a.png", "train_masks/a.png")
    (problem, *_) = match(tmp_path, preset("chasedb1").train)[1]
    assert problem.endswith("; there is a folder train_images, which data=folder reads")
