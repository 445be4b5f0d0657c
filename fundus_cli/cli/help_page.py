"""Build the --help pages from the YAML files, so that they cannot go stale."""

from importlib import resources
from pathlib import Path

from fundus_cli import __version__
from fundus_cli.cli.programs import Program
from fundus_cli.config.overrides import CONFIG_MODULE, choices

FLAGS = """\
Flags:
  -m, --multirun        run every combination of comma-separated values
  --cfg job             print the composed config and stop
  --config-dir FOLDER   add your own YAML files, as in FOLDER/data/clinic.yaml for data=clinic
  --debug               show the traceback of an error
  --shell-completion    see --hydra-help
  --version, --help
"""


def help_page(program: Program, config_dir: Path | None) -> str:
    """The help page of a program: commands, groups with their choices, keys with their meaning."""
    lines = [program.intro]
    if program.groups:
        width = max(len(name) for name in program.groups)
        lines += ["Groups, chosen as group=name:"]
        lines += [
            f"  {name:{width}}  {', '.join(choices(name, config_dir))}" for name in program.groups
        ]
        lines += [""]
    lines += [
        "Keys, set as key=value (those of a group as in optimizer.lr=3e-4, see --cfg job):",
    ]
    lines += _key_lines(f"{program.name}.yaml", "")
    if program.name == "train":
        for group, name in (("model", "unet"), ("optimizer", "adamw")):
            lines += _key_lines(f"{group}/{name}.yaml", f"{group}.")
    if program.name in ("train", "check"):
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
