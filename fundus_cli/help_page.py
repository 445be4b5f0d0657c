"""The --help pages, read from the YAML files themselves so that they cannot go stale."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from fundus_cli import __version__
from fundus_cli.overrides import CONFIG_MODULE, choices

INTRO = {
    "train": """\
fundus-train trains a U-Net on retinal photographs and scores it.

  fundus-train                                        try it: trains on generated photographs
  fundus-train data.root=my_data                      {train,test}_images/ {train,test}_masks/
  fundus-train data=drive data.root=path/to/DRIVE     a public data set in its official layout
  fundus-train data.root=my_data epochs=50 model.base_channels=32 optimizer.lr=3e-4
  fundus-train output=outputs/train/mine resume=auto  continue what was stopped
  fundus-train -m model.base_channels=8,16,32 optimizer.lr=1e-3,3e-4     try every combination
  fundus-eval checkpoint=outputs/train/mine/best.pt   score it again, or on other photographs
""",
    "eval": """\
fundus-eval scores a checkpoint on photographs with masks.

  fundus-eval checkpoint=outputs/train/mine/best.pt            the numbers that training printed
  fundus-eval checkpoint=outputs/train/mine split=val          on the validation photographs
  fundus-eval checkpoint=... data=stare data.root=path/to/STARE    on another data set
""",
    "report": """\
fundus-report makes a page of a run, or of several, from the files in their folders.

  fundus-report path=outputs/train/mine        report.html of a run, a running one too
  fundus-report path=outputs/sweeps/<stamp>    leaderboard.html of a sweep or a folder of runs
  fundus-report 'path=[outputs/train/a,outputs/train/b]'    the two compared, with a test
""",
    "check": """\
fundus-check tells everything that is wrong with a data set, and repairs what is not in doubt.

  fundus-check data.root=my_data                            {train,test}_images/ {train,test}_masks/
  fundus-check data=drive data.root=path/to/DRIVE           a public data set in its official layout
  fundus-check data.root=my_data data.mask_threshold=0.5    masks read as with fundus-train
  fundus-check data.root=my_data fix=true output=my_data_2  a repaired copy, then
  fundus-train data.root=my_data_2                          trains on it
""",
    "predict": """\
fundus-predict draws masks for photographs that have none.

  fundus-predict checkpoint=outputs/train/mine/best.pt input=photos/ output=masks/
  fundus-predict checkpoint=... input=photo.jpg overlay=true probability=true
  fundus-predict checkpoint=... 'input="photos/**/*.jpg"' output=masks/    folders below are kept
  fundus-predict checkpoint=[a.pt,b.pt] input=photos/ tta=true    several networks, mirrored too
""",
    "export": """\
fundus-export writes a checkpoint as one file for other programs, checked against the checkpoint.

  fundus-export checkpoint=outputs/train/mine/best.pt                  best.onnx beside it
  fundus-export checkpoint=... format=torchscript file=vessels.torchscript
  fundus-export checkpoint=[a.pt,b.pt] file=ensemble.onnx tta=true
""",
}

FLAGS = """\
Flags:
  -m, --multirun        run every combination of comma-separated values
  --cfg job             print the composed config and stop
  --config-dir FOLDER   add your own YAML files, as in FOLDER/data/clinic.yaml for data=clinic
  --debug               show the traceback of an error
  --shell-completion    see --hydra-help
  --version, --help
"""


def help_page(program: str, groups: Sequence[str], config_dir: Path | None) -> str:
    """A program's page: commands, groups with choices, keys with their meaning."""
    lines = [INTRO[program]]
    if groups:
        width = max(len(name) for name in groups)
        lines += ["Groups, chosen as group=name:"]
        lines += [f"  {name:{width}}  {', '.join(choices(name, config_dir))}" for name in groups]
        lines += [""]
    lines += [
        "Keys, set as key=value (keys of a group as in optimizer.lr=3e-4, see --cfg job):",
    ]
    lines += _key_lines(f"{program}.yaml", "")
    if program == "train":
        for group, name in (("model", "unet"), ("optimizer", "adamw")):
            lines += _key_lines(f"{group}/{name}.yaml", f"{group}.")
    if program in ("train", "check"):
        lines += _key_lines("data/_base.yaml", "data.")
    lines += ["", FLAGS + f"\nfundus-cli {__version__}"]
    return "\n".join(lines)


def _key_lines(file: str, prefix: str) -> list[str]:
    """`key=default` and the comment above it, for the plain keys of one YAML file."""
    text = (resources.files(CONFIG_MODULE) / file).read_text(encoding="utf-8")
    lines, comment = [], ""
    for line in text.splitlines():
        if line.startswith("# "):
            comment = line[2:]
        elif line and not line.startswith((" ", "defaults:", "hydra:", "name:")):
            key, _, value = line.partition(": ")
            if value and comment:
                shown = f"{prefix}{key}={value}"
                lines.append(f"  {shown:34} {comment}")
            comment = ""
    return lines
