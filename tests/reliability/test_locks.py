"""One folder, one process: starts at once, a deleted lock file, folders that cannot be moved."""

import os
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from reliability.kit import complaint, run

from fundus_cli.errors import RunFolderError
from fundus_cli.run import folder as folder_module
from fundus_cli.run.files import write_json, write_whole
from fundus_cli.run.folder import LOCK_NAME, check_writable, holder, holds_run, locked
from fundus_cli.runtime import locking

ROUNDS = 60


def forked(action: Callable[[], int]) -> int:
    """The process id of a child that does this and exits with the result."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = action()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def codes(pids: list[int]) -> list[int]:
    return sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)


def start_at(moment: float, output: Path, overwrite: bool, marks: Path) -> int:
    """Lock the folder at a moment; 0: had it alone, 6: refused, 7: another process had it too."""
    while time.monotonic() < moment:
        pass
    try:
        with locked(str(output), overwrite):
            mark = marks / str(os.getpid())
            mark.touch()
            time.sleep(0.01)
            is_alone = len(list(marks.iterdir())) == 1
            (output / "last.pt").write_text(str(os.getpid()))
            mark.unlink()
            return 0 if is_alone else 7
    except RunFolderError:
        return 6


@pytest.mark.parametrize("is_deleted", [False, True], ids=["", "without .lock"])
def test_of_starts_at_once_with_overwrite_one_has_the_folder(
    tmp_path: Path, is_deleted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time between looking and renaming is long here, so that a gap in the lock shows."""
    plain = folder_module._backup_path

    def slow(folder: Path) -> Path:
        time.sleep(0.01)
        return plain(folder)

    monkeypatch.setattr(folder_module, "_backup_path", slow)
    output, marks = tmp_path / "run", tmp_path / "marks"
    marks.mkdir()
    for number in range(ROUNDS):
        output.mkdir(exist_ok=True)
        (output / "last.pt").write_text(f"precious {number}")
        if is_deleted:
            (output / LOCK_NAME).unlink(missing_ok=True)
        # Every other round at the same moment, else while the one before looks and renames.
        moments = [time.monotonic() + 0.01 + 0.006 * (number % 2) * nth for nth in range(3)]
        pids = [forked(partial(start_at, moment, output, True, marks)) for moment in moments]
        found = codes(pids)
        assert set(found) <= {0, 6}, f"round {number}: {found}"
        assert found[0] == 0
    # Nothing was lost: what each start found is beside the folder.
    kept = {path.read_text() for path in tmp_path.glob("run.before-*/last.pt")}
    assert {f"precious {number}" for number in range(ROUNDS)} <= kept


def test_a_deleted_lock_file_lets_no_second_process_in(tmp_path: Path) -> None:
    output = tmp_path / "run"
    with locked(str(output)):
        (output / LOCK_NAME).unlink()
        for overwrite in (False, True):
            with (
                pytest.raises(RunFolderError, match=r"run: in use by another process"),
                locked(str(output), overwrite),
            ):
                pass
    with locked(str(output)):
        assert (output / LOCK_NAME).exists()


@pytest.mark.parametrize("is_file", [False, True])
def test_what_is_replaced_between_opening_and_locking_is_locked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_file: bool
) -> None:
    """Another process has moved the folder, or the file was deleted, at that very moment."""
    path = tmp_path / "it"
    plain, calls = locking._lock_exclusively, iter(range(10))

    def replaced(descriptor: int) -> None:
        if next(calls) == 0:
            path.rename(tmp_path / "before")
        plain(descriptor)

    monkeypatch.setattr(locking, "_lock_exclusively", replaced)
    descriptor = locking.lock_file(path) if is_file else locking.lock_folder(path)
    assert descriptor is not None
    assert locking.is_at(descriptor, path)
    assert next(calls) == 2
    with pytest.raises(BlockingIOError):
        locking.lock_file(path) if is_file else locking.lock_folder(path)
    os.close(descriptor)


def test_the_lock_moves_along_with_a_folder(tmp_path: Path) -> None:
    with locked(str(tmp_path / "run")):
        (tmp_path / "run").rename(tmp_path / "moved")
        assert "pid" in str(holder(tmp_path / "moved"))
    assert holder(tmp_path / "moved") is None


@pytest.mark.parametrize("how", ["mv", "rm"])
def test_a_run_writes_nothing_into_a_folder_that_took_the_place_of_its_own(
    tmp_path: Path, how: str
) -> None:
    output = tmp_path / "run"
    with locked(str(output)) as folder:
        write_json(folder / "a.json", {})
        if how == "mv":
            output.rename(tmp_path / "moved")
        else:
            for path in output.iterdir():
                path.unlink()
            output.rmdir()
        output.mkdir()
        with pytest.raises(RunFolderError, match=r"run: is another folder than the one"):
            write_json(folder / "a.json", {})
        assert list(output.iterdir()) == []
    write_json(output / "a.json", {})


def test_looking_for_the_holder_changes_nothing_that_is_read(tmp_path: Path) -> None:
    assert holder(tmp_path / "nowhere") is None
    assert not (tmp_path / "nowhere").exists()
    with locked(str(tmp_path / "run")):
        assert holder(tmp_path / "run") == (tmp_path / "run" / LOCK_NAME).read_text()
    name = (tmp_path / "run" / LOCK_NAME).read_text()
    assert holder(tmp_path / "run") is None
    assert (tmp_path / "run" / LOCK_NAME).read_text() == name


def test_temporary_files_of_others_are_kept(tmp_path: Path) -> None:
    output = tmp_path / "run"
    output.mkdir()
    for name in (".notes.tmp", ".x.1.tmp", ".x.fundus.tmp", "a.1.fundus.tmp", ".mine.7.fundus.tmp"):
        (output / name).write_text("mine")
    (output / ".folder.5.fundus.tmp").mkdir()
    (output / ".y.tmp").mkdir()
    before = {path.name for path in output.iterdir()} - {".mine.7.fundus.tmp"}
    with locked(str(output)):
        assert {path.name for path in output.iterdir()} - {LOCK_NAME} == before


def test_a_killed_writer_s_temporary_is_removed_by_the_next_start(tmp_path: Path) -> None:
    def killed() -> int:
        with locked(str(tmp_path / "run")) as folder:
            write_whole(folder / "last.pt", lambda file: os._exit(9))
        return 0

    assert codes([forked(killed)]) == [9]
    assert len(list((tmp_path / "run").glob(".last.pt.*.fundus.tmp"))) == 1
    with locked(str(tmp_path / "run")) as folder:
        assert [path.name for path in folder.iterdir()] == [LOCK_NAME]


def test_the_current_folder_and_the_root_are_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "above" / "here"
    here.mkdir(parents=True)
    for folder in (here, here.parent):
        (folder / "last.pt").write_text("precious")
    monkeypatch.chdir(here)
    for output in (".", "..", "../here", str(here), "./", "../../above"):
        with (
            pytest.raises(RunFolderError, match="is the current folder or contains it"),
            locked(output, overwrite=True),
        ):
            pass
        assert holds_run(here)
        assert holds_run(here.parent)
    for output in ("/", "//", "/..", "../" * 40):
        for refuse in (check_writable, lambda name: locked(name).__enter__()):
            with pytest.raises(RunFolderError, match="is the root of a drive"):
                refuse(output)
    with locked(".") as folder:
        assert (folder / "last.pt").read_text() == "precious"


def test_a_linked_folder_is_moved_aside_by_its_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "last.pt").write_text("precious")
    (tmp_path / "run").symlink_to("elsewhere")
    with locked(str(tmp_path / "run"), overwrite=True) as folder:
        assert not folder.is_symlink()
        assert not holds_run(folder)
    assert (tmp_path / "elsewhere" / "last.pt").read_text() == "precious"


@pytest.mark.parametrize(
    ("output", "code", "word"),
    [
        (".", 6, "is the current folder"),
        ("/", 6, "is the root"),
        ("x" * 300, 5, "File name too long"),
        ("/proc/run", 5, "cannot be written"),
        ("/dev/null/run", 6, "is a file"),
    ],
    ids=["here", "root", "long", "proc", "null"],
)
def test_the_command_refuses_them_too(
    tmp_path: Path, shared_tiny_set: Path, output: str, code: int, word: str
) -> None:
    (tmp_path / "log.csv").write_text("precious")
    result = run(
        tmp_path, "train", f"data.root={shared_tiny_set}", f"output={output}", "overwrite=true"
    )
    complaint(result, code, word)
    assert (tmp_path / "log.csv").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] in (["log.csv"], ["log.csv", LOCK_NAME])
