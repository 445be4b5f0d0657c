"""What writes whole folders is killed in between: synthetic images, and a repaired copy."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from reliability.forks import Forked, signal_at
from reliability.kit import tree

from fundus_cli.config import DemoConfig
from fundus_cli.synthetic import write_set
from fundus_cli.synthetic.write_set import write_demo

DEMO = DemoConfig(train=2, test=1, size_px=64, seed=0)


def in_a_child(action: Callable[[], object]) -> int:
    """Do this in another process; returns its id."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return pid


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def at_image(number: int, action: Callable[[], object]) -> Callable[[int], None]:
    """A `progress` that does something after so many images."""
    calls = iter(range(1, 100))

    def progress(total: int) -> None:
        if next(calls) == number:
            action()

    return progress


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("number", [1, 3])
def test_the_next_start_removes_what_a_killed_generator_left(tmp_path: Path, number: int) -> None:
    write_demo(tmp_path / "whole", DEMO)
    folder = tmp_path / "place" / "demo"
    pid = in_a_child(lambda: write_demo(folder, DEMO, at_image(number, kill_self)))
    assert exit_code(pid) == -signal.SIGKILL
    assert [path.name for path in folder.parent.iterdir()] == [f".demo.{pid}.fundus.tmp"]
    for name in (".demo.tmp", ".demo.7.tmp", ".other.7.fundus.tmp", ".demo.mine.fundus.tmp"):
        (folder.parent / name).mkdir()
    write_demo(folder, DEMO)
    assert sorted(path.name for path in folder.parent.iterdir()) == [
        *(".demo.7.tmp", ".demo.mine.fundus.tmp", ".demo.tmp", ".other.7.fundus.tmp"),
        "demo",
    ]
    assert tree(folder) == tree(tmp_path / "whole")


def test_a_generator_that_is_still_at_work_is_left_alone(tmp_path: Path) -> None:
    """Both end with the set; the folder of the one that works is not deleted by the other."""
    folder, begun, go = tmp_path / "demo", tmp_path / "begun", tmp_path / "go"

    def wait() -> None:
        begun.touch()
        while not go.exists():
            time.sleep(0.01)

    pid = in_a_child(lambda: write_demo(folder, DEMO, at_image(1, wait)))
    while not begun.exists():
        time.sleep(0.01)
    (own,) = tmp_path.glob(".demo.*")
    before = tree(own)
    write_set._remove_stale(folder)
    assert tree(own) == before
    go.touch()
    assert exit_code(pid) == 0
    assert len(tree(folder)) == 18


def test_many_generators_at_once_leave_one_set(tmp_path: Path) -> None:
    write_demo(tmp_path / "whole", DEMO)
    for number in range(5):
        folder = tmp_path / f"place{number}" / "demo"
        pids = [in_a_child(lambda at=folder: write_demo(at, DEMO)) for _ in range(4)]
        assert [exit_code(pid) for pid in pids] == [0] * 4
        assert [path.name for path in folder.parent.iterdir()] == ["demo"]
        assert tree(folder) == tree(tmp_path / "whole")


def test_every_file_is_on_the_disk_before_the_set_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, synced = os.fsync, []

    def fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, (tmp_path / "demo").exists()))
        plain(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_demo(tmp_path / "demo", DEMO)
    before = {inode for inode, has_name in synced if not has_name}
    after = {inode for inode, has_name in synced if has_name}
    paths = [tmp_path / "demo", *(tmp_path / "demo").rglob("*")]
    assert {path.stat().st_ino for path in paths} == before
    assert after == {tmp_path.stat().st_ino}


CHECK = ("check", "data.root=data", "fix=true", "output=out", "contact_sheet=false")


@pytest.fixture
def faulty_set(tmp_path: Path, tiny_set: Path) -> Path:
    """Three images; one mask is not 0 and 255, and one image is a copy of another."""
    for path in tiny_set.glob("*/p[2-57].png"):
        path.unlink()
    mask = tiny_set / "train_masks" / "p0.png"
    Image.open(mask).point(lambda value: value // 255).save(mask)
    for kind in ("images", "masks"):
        shutil.copy(tiny_set / f"train_{kind}" / "p1.png", tiny_set / f"train_{kind}" / "p9.png")
    return tiny_set


def copied(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in tree(folder / "out").items() if name != ".lock"}


def repaired(folder: Path, **more: object) -> Forked:
    return Forked(folder, *CHECK, **more)  # type: ignore[arg-type]


def check_restart(folder: Path, expected: dict[str, str]) -> None:
    """The same command after a kill ends as if there had been none."""
    if (folder / "out" / "report.json").exists():
        # It was killed after it had finished.
        assert copied(folder) == expected
    else:
        again = repaired(folder).result()
        assert again.returncode == 0, again.stderr
        assert copied(folder) == expected
    assert {path.name for path in (folder / "out").iterdir() if path.is_dir()} <= {
        *("train_images", "train_masks", "train_fov", "test_images", "test_masks", "test_fov"),
        *("configs", ".copy.fundus.tmp"),
    }
    shutil.rmtree(folder / "out")


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_repair_is_restarted_by_the_same_command(
    tmp_path: Path, faulty_set: Path, every: int
) -> None:
    """Killed before every sync and rename, and between the copy's folders get their names."""
    journal = tmp_path / "journal"
    whole = repaired(tmp_path, journal=journal).result()
    assert whole.returncode == 0, whole.stderr
    expected, points = copied(tmp_path), len(journal.read_text().splitlines())
    assert points > 30
    assert "changes.csv" in expected
    shutil.rmtree(tmp_path / "out")
    for number in range(1, points + 1, every):
        killed = repaired(tmp_path, faults=[{"at": number, "do": "SIGKILL"}])
        assert killed.wait() == -signal.SIGKILL
        is_half = not (tmp_path / "out" / "report.json").exists()
        if is_half and number < points // 2:
            assert not (tmp_path / "out" / "train_images").exists()
        check_restart(tmp_path, expected)
    for nth in (1, 4, 6):
        killed = repaired(tmp_path, prepare=signal_at(Path, "rename", nth, signal.SIGKILL))
        assert killed.wait() == -signal.SIGKILL
        check_restart(tmp_path, expected)


def test_a_copy_is_not_written_over_folders_of_others(tmp_path: Path, faulty_set: Path) -> None:
    for name in ("train_masks", "test_fov"):
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "mine.png").write_text("precious")
        result = repaired(tmp_path).result()
        assert result.returncode == 6, result.stderr
        assert "holds 1 images in" in result.stderr or f"already contains {name}" in result.stderr
        assert (tmp_path / "out" / name / "mine.png").read_text() == "precious"
        shutil.rmtree(tmp_path / "out")
