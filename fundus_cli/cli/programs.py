"""The table of programs: the config, the groups and the help of each, and the module that runs it.

Imports no torch, so that --help and every config error answer at once; the module of a program is
imported when it runs.
"""

import importlib
from dataclasses import dataclass
from typing import Any

from fundus_cli.run.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One console script.

    Attributes:
        name: `train` for fundus-train; configs/<name>.yaml has its keys, config.SCHEMAS its types.
        module: name of the module in `fundus_cli.commands` whose `run` does the work.
        groups: config groups that can be chosen as group=name.
        intro: what --help says first.
    """

    name: str
    module: str
    groups: tuple[str, ...]
    intro: str

    def run(self, config: Any, context: Context) -> None:
        """Do the work, once the config is known to be right.

        Raises:
            FundusError: whatever the user can fix.
            Interrupted: a signal asked to stop.
        """
        importlib.import_module(f"fundus_cli.commands.{self.module}").run(config, context)


PROGRAMS = {
    program.name: program
    for program in (
        Program(
            name="train",
            module="train",
            groups=("data", "model", "loss", "optimizer", "scheduler", "augment", "experiment"),
            intro="""\
fundus-train trains a U-Net on retinal images and scores it.

  fundus-train                                        try it: trains on synthetic images
  fundus-train data.root=my_data                      {train,test}_images/ {train,test}_masks/
  fundus-train data=drive data.root=path/to/DRIVE     a public data set in its official layout
  fundus-train data.root=my_data epochs=50 model.base_channels=32 optimizer.lr=3e-4
  fundus-train output=outputs/train/mine resume=auto  continue what was stopped
  fundus-train -m model.base_channels=8,16,32 optimizer.lr=1e-3,3e-4     try every combination
  fundus-eval checkpoint=outputs/train/mine/best.pt   score it again, or on other images
""",
        ),
        Program(
            name="eval",
            module="evaluate",
            groups=("data",),
            intro="""\
fundus-eval scores a checkpoint on images with masks.

  fundus-eval checkpoint=outputs/train/mine/best.pt            the numbers that training printed
  fundus-eval checkpoint=outputs/train/mine split=val          on the validation images
  fundus-eval checkpoint=... data=stare data.root=path/to/STARE    on another data set
""",
        ),
        Program(
            name="report",
            module="report",
            groups=(),
            intro="""\
fundus-report makes a page of a run, or of several, from the files in their folders.

  fundus-report path=outputs/train/mine        report.html of a run, a running one too
  fundus-report path=outputs/sweeps/<stamp>    leaderboard.html of a sweep or a folder of runs
  fundus-report 'path=[outputs/train/a,outputs/train/b]'    the two compared, with a test
""",
        ),
        Program(
            name="check",
            module="check",
            groups=("data",),
            intro="""\
fundus-check tells everything that is wrong with a data set, and repairs what is not in doubt.

  fundus-check data.root=my_data                            {train,test}_images/ {train,test}_masks/
  fundus-check data=drive data.root=path/to/DRIVE           a public data set in its official layout
  fundus-check data.root=my_data data.mask_threshold=0.5    masks read as with fundus-train
  fundus-check data.root=my_data fix=true output=my_data_2  a repaired copy, then
  fundus-train data.root=my_data_2                          trains on it
""",
        ),
        Program(
            name="predict",
            module="predict",
            groups=(),
            intro="""\
fundus-predict draws masks for images that have none.

  fundus-predict checkpoint=outputs/train/mine/best.pt input=photos/ output=masks/
  fundus-predict checkpoint=... input=photo.jpg overlay=true probability=true
  fundus-predict checkpoint=... 'input="photos/**/*.jpg"' output=masks/    folders below are kept
  fundus-predict checkpoint=[a.pt,b.pt] input=photos/ tta=true    several networks, mirrored too
""",
        ),
        Program(
            name="export",
            module="export",
            groups=(),
            intro="""\
fundus-export writes a checkpoint as one file for other programs, checked against the checkpoint.

  fundus-export checkpoint=outputs/train/mine/best.pt                  best.onnx beside it
  fundus-export checkpoint=... format=torchscript file=vessels.torchscript
  fundus-export checkpoint=[a.pt,b.pt] file=ensemble.onnx tta=true
""",
        ),
    )
}
