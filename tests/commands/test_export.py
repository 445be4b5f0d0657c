"""fundus-export: a file that predicts what the checkpoint predicts, or no file."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import random_checkpoint, read_pixels
from conftest import PROJECT, RunCommand, tiny_image
from PIL import Image
from torch import nn

from fundus_cli.commands import export as export_module
from fundus_cli.commands.export import export
from fundus_cli.config import Device, Normalisation, Precision
from fundus_cli.config.compose import compose_config
from fundus_cli.data.samples import FundusImage, prepare
from fundus_cli.errors import ConfigError, FundusError, RunFolderError
from fundus_cli.export import formats
from fundus_cli.export.formats import INPUTS, run_torchscript
from fundus_cli.export.graph import PredictionGraph
from fundus_cli.inference.loading import ensemble_of
from fundus_cli.run import checkpoint
from fundus_cli.runtime.device import choose_device


def call(*overrides: str) -> Path:
    return export(compose_config("export", overrides), lambda line: None)


def fundus_image(seed: int, hw: tuple[int, int], wanted_px: int | None) -> FundusImage:
    image = np.ascontiguousarray(tiny_image(seed, 80)[0][: hw[0], : hw[1]])
    return prepare(str(seed), image, image.max(axis=2) > 30, "file", wanted_px)


def inputs(one: FundusImage) -> dict[str, np.ndarray]:
    arrays = (one.image[None], one.fov_mask[None, None], one.native_fov.unpack()[None])
    return dict(zip(INPUTS, arrays, strict=True))


@pytest.mark.parametrize("wanted_px, normalisation", [(None, "fov"), (101, "fov"), (101, "local")])
def test_onnx_gives_the_checkpoints_probabilities_at_any_size(
    tmp_path: Path, wanted_px: int | None, normalisation: str
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    random_checkpoint(
        tmp_path / "net.pt",
        f"data.fov_diameter_px={wanted_px or 'null'}",
        f"data.normalisation={normalisation}",
        threshold=0.37,
    )
    path = call(f"checkpoint={tmp_path / 'net.pt'}")
    assert path == tmp_path / "net.onnx"
    session = onnxruntime.InferenceSession(str(path))
    saved = checkpoint.load(tmp_path / "net.pt")
    predictor = ensemble_of([saved], choose_device(Device.cpu), Precision.float32)
    for seed, hw in enumerate([(80, 80), (67, 79), (80, 53)]):
        one = fundus_image(seed, hw, wanted_px)
        (found,) = session.run(None, inputs(one))
        assert found.shape == (1, 1, *hw)
        assert np.abs(found[0] - predictor.probability(one)).max() <= 1e-5
        assert 0.05 < (found >= 0.37).mean() < 0.95
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["structures"]) == ["vessel"]
    assert float(about["threshold"]) == 0.37
    assert (about["threshold_origin"], about["normalisation"]) == ("val", normalisation)
    assert json.loads(about["fov_diameter_px"]) == wanted_px
    assert about["fundus_cli"]
    # Neither paths nor source of the exporting machine.
    content = path.read_bytes()
    assert str(PROJECT).encode() not in content
    assert b"site-packages" not in content


def test_torchscript_holds_ensembles_and_mirrors(tmp_path: Path) -> None:
    local = "data.normalisation=local"
    random_checkpoint(tmp_path / "a.pt", local)
    random_checkpoint(tmp_path / "b.pt", "model=wnet", "model.base_channels=3", local, seed=5)
    names = f"checkpoint=[{tmp_path / 'a.pt'},{tmp_path / 'b.pt'}]"
    path = call(names, "format=torchscript", "tta=true")
    assert path == tmp_path / "ensemble.torchscript"
    run = run_torchscript(path.read_bytes())
    members = [checkpoint.load(tmp_path / name) for name in ("a.pt", "b.pt")]
    predictor = ensemble_of(members, choose_device(Device.cpu), Precision.float32, True)
    one = fundus_image(1, (71, 80), None)
    assert np.abs(run(*inputs(one).values())[0] - predictor.probability(one)).max() <= 1e-5
    assert str(PROJECT).encode() not in path.read_bytes()
    with pytest.raises(ConfigError, match="safetensors holds the weights of one"):
        call(names, "format=safetensors")


def test_safetensors_hold_the_weights_and_how_to_use_them(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    random_checkpoint(tmp_path / "net.pt")
    path = call(f"checkpoint={tmp_path / 'net.pt'}", "format=safetensors")
    weights = checkpoint.load(tmp_path / "net.pt").weights
    with safetensors.safe_open(path, "pt") as file:
        assert set(file.keys()) == set(weights)
        assert all(torch.equal(file.get_tensor(name), weights[name]) for name in weights)
        models = json.loads(file.metadata()["models"])
    assert (models[0]["name"], models[0]["base_channels"]) == ("unet", 4)


def test_a_file_that_predicts_otherwise_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_checkpoint(tmp_path / "net.pt")
    right = formats.run_torchscript

    def wrong(content: bytes) -> formats.Run:
        run = right(content)
        return lambda *arrays: run(*arrays) + np.float32(2e-5)

    monkeypatch.setattr(export_module, "run_torchscript", wrong)
    # Twenty millionths, and a few for the rounding of the right ones.
    found = r"not written.*differ by at most (1\.[5-9]|2\.[0-5])e-05"
    with pytest.raises(FundusError, match=found) as caught:
        call(f"checkpoint={tmp_path / 'net.pt'}", "format=torchscript")
    assert caught.value.exit_code == 1
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt"]


def test_a_file_that_is_there_is_kept_unless_asked(tmp_path: Path) -> None:
    random_checkpoint(tmp_path / "net.pt")
    target = tmp_path / "net.torchscript"
    target.write_bytes(b"mine")
    lines = (f"checkpoint={tmp_path / 'net.pt'}", "format=torchscript")
    with pytest.raises(RunFolderError, match="overwrite=true"):
        call(*lines)
    assert target.read_bytes() == b"mine"
    assert call(*lines, "overwrite=true") == target
    assert target.stat().st_size > 1000


def test_a_missing_library_is_named_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_checkpoint(tmp_path / "net.pt")
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs onnx, .*fundus-cli\[export\]"):
        call(f"checkpoint={tmp_path / 'net.pt'}")


def test_statistics_count_the_field_of_view_alone() -> None:
    class Seen(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            self.image = image
            return image[:, :1]

    seen = Seen()
    one = fundus_image(0, (80, 80), None)
    arrays = [torch.from_numpy(array) for array in inputs(one).values()]
    PredictionGraph([seen], Normalisation.fov, False)(*arrays)
    inside = seen.image[0][:, one.fov_mask]
    torch.testing.assert_close(inside.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(inside.std(1, correction=0), torch.ones(3), atol=1e-5, rtol=0)
    assert float(seen.image[0][:, ~one.fov_mask].abs().max()) == 0
    PredictionGraph([seen], Normalisation.unit, False)(*arrays)
    assert torch.equal(seen.image, arrays[0] / 255)


def test_the_example_in_the_docs_gives_the_same_mask(tmp_path: Path, command: RunCommand) -> None:
    pytest.importorskip("onnxruntime")
    random_checkpoint(tmp_path / "net.pt", "data.fov_diameter_px=90", threshold=0.45)
    Image.fromarray(tiny_image(3, 128)[0]).save(tmp_path / "photo.png")
    call(f"checkpoint={tmp_path / 'net.pt'}")
    result = command(
        "predict", "checkpoint=net.pt", "input=photo.png", "output=out", "fov_mask=true"
    )
    assert result.returncode == 0, result.stderr
    with (tmp_path / "out" / "predictions.csv").open() as file:
        diameter = next(csv.DictReader(file))["fov_diameter_px"]
    script = PROJECT / "docs" / "onnx_example.py"
    code = [line for line in script.read_text().splitlines() if line.strip()]
    assert len(code) <= 30
    arguments = ["net.onnx", "photo.png", "out/fov/photo.png", "mask.png", diameter]
    subprocess.run([sys.executable, script, *arguments], cwd=tmp_path, check=True, timeout=120)
    mask = read_pixels(tmp_path / "mask.png")
    assert np.array_equal(mask, read_pixels(tmp_path / "out" / "photo.png"))
    assert 0.02 < (mask == 255).mean() < 0.7
