"""Refuse output folders in which a program could overwrite or move what is not its own."""

import os
from collections.abc import Sequence
from pathlib import Path

from fundus_cli.check.repair import UNFINISHED
from fundus_cli.data.folder_contents import image_folders
from fundus_cli.errors import RunFolderError
from fundus_cli.run.folder import RUN_FILES, check_writable

PREDICT_FILES = ("predict.json", "predictions.csv")
CHECK_FILES = ("report.json", UNFINISHED)


def check_output(
    output: str, marks: Sequence[str] = RUN_FILES, data_root: str | None = None
) -> None:
    """Fail early when the output folder cannot be created or holds somebody's images.

    Args:
        output: the folder; it need not exist.
        marks: names of files by which a folder that a program wrote is known.
        data_root: the folder of the data set that is read, if it is known.

    Raises:
        MachineError: the nearest existing folder above cannot be written.
        RunFolderError: a file has the folder's name; it is the data set's folder or lies above it;
            or it holds images and none of `marks`.
    """
    check_writable(output)
    # By names alone: the data set's drive may not respond, and here nothing would end the wait.
    folder = Path(os.path.abspath(output))  # noqa: PTH100
    if data_root is not None:
        root = Path(os.path.abspath(Path(data_root).expanduser()))  # noqa: PTH100
        if folder == root or folder in root.parents:
            raise RunFolderError(
                f"output={output}: is the folder of the data set ({data_root}) or above it; choose "
                "a folder of its own"
            )
    if not folder.is_dir() or any((folder / name).exists() for name in marks):
        return
    found = image_folders(folder)
    if found:
        where, number = max(found.items(), key=lambda item: item[1])
        inside = "" if where == "." else f" in {where}/"
        raise RunFolderError(
            f"output={output}: holds {number} images{inside} that no fundus program wrote; choose "
            "a folder of its own"
        )
