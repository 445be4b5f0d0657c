"""Several structures are several channels of one network: a whole run on arteries and veins."""

import csv
import json
from pathlib import Path

import numpy as np
import torch
from conftest import RunCommand, small
from PIL import Image

from fundus_cli.config import DemoConfig
from fundus_cli.synthetic.write_set import write_demo

ARTERIES_AND_VEINS = """\
defaults: [_base]
name: arteries_and_veins
train:
  image: train_images/{id}.jpg
  fov: train_fov/{id}.png
  targets: {artery: "train_arteries/{id}.png", vein: "train_veins/{id}.png"}
test:
  image: test_images/{id}.jpg
  fov: test_fov/{id}.png
  targets: {artery: "test_arteries/{id}.png", vein: "test_veins/{id}.png"}
"""


def test_arteries_and_veins_train_and_score_as_two_channels(
    command: RunCommand, tmp_path: Path
) -> None:
    write_demo(tmp_path / "drawn", DemoConfig(train=4, test=2, size_px=64, seed=0))
    configs = tmp_path / "my_configs" / "data"
    configs.mkdir(parents=True)
    (configs / "av.yaml").write_text(ARTERIES_AND_VEINS)
    arguments = ("--config-dir", "my_configs", "data=av", "data.root=drawn", "output=run")
    result = command("train", *arguments, *small("overlays=2"))
    assert result.returncode == 0, result.stderr

    run = tmp_path / "run"
    saved = torch.load(run / "best.pt", weights_only=True)
    assert saved["model"]["head.weight"].shape[0] == 2
    scores = json.loads((run / "metrics.json").read_text())["protocols"][0]["structures"]
    assert list(scores) == ["artery", "vein"]
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    network = [row for row in rows if row["rater"] == "network"]
    assert [(row["id"], row["structure"]) for row in network] == [
        (f"demo_{number:03d}", name) for number in (4, 5) for name in ("artery", "vein")
    ]
    # Each channel is scored against its own masks: its positives are those of that mask's file.
    for row in network:
        folder = {"artery": "test_arteries", "vein": "test_veins"}[row["structure"]]
        mask = np.asarray(Image.open(tmp_path / "drawn" / folder / f"{row['id']}.png")) > 0
        fov = np.asarray(Image.open(tmp_path / "drawn" / "test_fov" / f"{row['id']}.png")) > 0
        assert int(row["tp"]) + int(row["fn"]) == np.count_nonzero(mask & fov)

    again = command(
        *("eval", "--config-dir", "my_configs", "checkpoint=run", "output=scores"),
    )
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "scores" / "metrics.json").read_bytes() == (
        run / "metrics.json"
    ).read_bytes()
