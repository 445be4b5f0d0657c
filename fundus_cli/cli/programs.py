"""The table of programs: groups and help text of each, and the module that runs it.

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
        intro: the first lines of --help.
    """

    name: str
    module: str
    groups: tuple[str, ...]
    intro: str

    def run(self, config: Any, context: Context) -> None:
        """Run the program on a checked config.

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
fundus-train trains a network that segments retinal images, and scores it.

  fundus-train                                        try it out on synthetic images
  fundus-train data.root=my_data                      {train,test}_images/ {train,test}_masks/
  fundus-train data=drive data.root=path/to/DRIVE     a public data set in its official layout
  fundus-train data.root=my_data epochs=50 model.base_channels=32 optimizer.lr=3e-4
  fundus-train output=outputs/train/mine resume=auto  resume an interrupted run
  fundus-train -m model.base_channels=8,16,32 optimizer.lr=1e-3,3e-4     try every combination
  fundus-eval checkpoint=outputs/train/mine/best.pt   score it again, or on another data set
""",
        ),
        Program(
            name="eval",
            module="evaluate",
            groups=("data",),
            intro="""\
fundus-eval scores a trained network on labelled images.

  fundus-eval checkpoint=outputs/train/mine/best.pt            the scores that training printed
  fundus-eval checkpoint=outputs/train/mine split=val          on the validation images
  fundus-eval checkpoint=... data=stare data.root=path/to/STARE    on another data set
""",
        ),
        Program(
            name="report",
            module="report",
            groups=(),
            intro="""\
fundus-report writes a web page about a run, or a comparison of several runs.

  fundus-report path=outputs/train/mine        report.html of a run, also while it trains
  fundus-report path=outputs/sweeps/<stamp>    leaderboard.html of a sweep or a folder of runs
  fundus-report 'path=[outputs/train/a,outputs/train/b]'    compare two runs, with a paired test
""",
        ),
        Program(
            name="check",
            module="check",
            groups=("data",),
            intro="""\
fundus-check lists everything that is wrong with a data set, and repairs what is unambiguous.

  fundus-check data.root=my_data                            {train,test}_images/ {train,test}_masks/
  fundus-check data=drive data.root=path/to/DRIVE           a public data set in its official layout
  fundus-check data.root=my_data data.mask_threshold=0.5    masks read as with fundus-train
  fundus-check data.root=my_data fix=true output=my_data_2  write a repaired copy, then
  fundus-train data.root=my_data_2                          train on it
""",
        ),
        Program(
            name="predict",
            module="predict",
            groups=(),
            intro="""\
fundus-predict segments images with a trained network and writes their masks.

  fundus-predict checkpoint=outputs/train/mine/best.pt input=photos/ output=masks/
  fundus-predict checkpoint=... input=photo.jpg overlay=true probability=true
  fundus-predict checkpoint=... 'input="photos/**/*.jpg"' output=masks/    keeps the subfolders
  fundus-predict checkpoint=[a.pt,b.pt] input=photos/ tta=true    an ensemble, with flips
""",
        ),
        Program(
            name="export",
            module="export",
            groups=(),
            intro="""\
fundus-export converts a checkpoint to one file for other programs, and checks the result.

  fundus-export checkpoint=outputs/train/mine/best.pt                  best.onnx beside it
  fundus-export checkpoint=... format=torchscript file=vessels.torchscript
  fundus-export checkpoint=[a.pt,b.pt] file=ensemble.onnx tta=true
""",
        ),
    )
}
