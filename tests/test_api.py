"""The Python API computes what the programs compute, and raises what they print."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RunCommand, small, write_tiny_set
from PIL import Image
from torch import Tensor, nn

import fundus_cli as fundus
from fundus_cli.run import checkpoint
from fundus_cli.run.files import write_json
from fundus_cli.training.losses import bce_loss


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def root(place: Path) -> Path:
    return write_tiny_set(place / "data")


@pytest.fixture(scope="module")
def words(root: Path) -> list[str]:
    return small(f"data.root={root}", "device=cpu", "precision=float32", "augment=flips")


@pytest.fixture(scope="module")
def run(place: Path, words: list[str]) -> fundus.TrainingRun:
    return fundus.train([*words, f"output={place / 'run'}"], verbose=False)


def test_importing_the_package_is_quick_and_loads_no_torch() -> None:
    code = (
        "import time; started = time.perf_counter(); import fundus_cli, sys\n"
        "print(time.perf_counter() - started, {'torch', 'numpy', 'hydra'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, loaded = done.stdout.split(maxsplit=1)
    assert float(seconds) < 0.05
    assert loaded.strip() == "set()"


def test_every_public_name_is_there() -> None:
    for name in fundus.__all__:
        assert getattr(fundus, name) is not None
    assert set(fundus.__all__) <= set(dir(fundus))
    with pytest.raises(AttributeError, match="no attribute 'wrong'"):
        fundus.wrong  # noqa: B018


def test_training_is_that_of_the_program(
    run: fundus.TrainingRun, words: list[str], command: RunCommand, tmp_path: Path
) -> None:
    done = command("train", *words, "output=run")
    assert done.returncode == 0, done.stderr
    for name in ("log.csv", "metrics.json", "metrics.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (run.folder / name).read_bytes()
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert run.scores["vessel"] == metrics["protocols"][0]["structures"]["vessel"]["pooled"]
    assert run.summary["status"] == "done"


def test_prediction_is_that_of_the_program(
    run: fundus.TrainingRun, root: Path, command: RunCommand, tmp_path: Path
) -> None:
    path = root / "test_images" / "p6.png"
    done = command("predict", f"checkpoint={run.folder}", f"input={path}", "output=masks")
    assert done.returncode == 0, done.stderr
    written = np.asarray(Image.open(tmp_path / "masks" / "p6.png")) > 0
    network = run.load()
    with Image.open(path) as image:
        pixels = np.asarray(image)
        predictions = [network.predict(source) for source in (path, str(path), image, pixels)]
    for prediction in predictions:
        assert np.array_equal(prediction.mask("vessel"), written)
        assert prediction.mask().dtype == np.bool_
        probability = prediction.probability("vessel")
        assert probability.shape == pixels.shape[:2] and probability.dtype == np.float32
        assert not probability[~prediction.fov].any()
        assert np.array_equal(probability >= np.float32(prediction.threshold), written)


def test_a_given_field_of_view_is_used(run: fundus.TrainingRun, root: Path, tmp_path: Path) -> None:
    path = root / "test_images" / "p6.png"
    fov = np.zeros((64, 64), bool)
    fov[16:48, 16:48] = True
    Image.fromarray(fov.astype(np.uint8) * 255).save(tmp_path / "fov.png")
    network = run.load()
    from_array = network.predict(np.asarray(Image.open(path)), fov)
    from_file = network.predict(path, tmp_path / "fov.png")
    assert from_array.fov_origin == from_file.fov_origin == "file"
    assert np.array_equal(from_array.probabilities, from_file.probabilities)
    assert not from_array.probability()[~fov].any()


def test_scores_are_those_of_training(run: fundus.TrainingRun, root: Path, tmp_path: Path) -> None:
    scores = run.load().evaluate()
    write_json(tmp_path / "metrics.json", scores.to_plain())
    written = (run.folder / "metrics.json").read_bytes()
    assert (tmp_path / "metrics.json").read_bytes() == written
    other = fundus.load(run.folder, threshold=0.25).evaluate("folder", root=root, split="val")
    assert (other.protocol.threshold, other.protocol.threshold_origin) == (0.25, "given")
    assert other.protocol.split == "val"


def test_several_checkpoints_are_an_ensemble(run: fundus.TrainingRun, root: Path) -> None:
    paths = [run.folder / "best.pt", run.folder / "previous.pt"]
    together = fundus.load(paths)
    pixels = np.asarray(Image.open(root / "test_images" / "p6.png"))
    logits = [
        torch.logit(torch.tensor(fundus.load(p).predict(pixels).probability())) for p in paths
    ]
    found = torch.tensor(together.predict(pixels).probability())
    inside = found > 0
    expected = torch.sigmoid(torch.stack(logits).mean(0))
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-4, rtol=0)
    assert together.evaluate(overrides=["shape_metrics=false"]).protocol.num_models == 2


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda run: fundus.load("nowhere.pt"), fundus.ConfigError, "checkpoint=nowhere.pt"),
        (lambda run: fundus.load(run.folder, device="gpu"), fundus.ConfigError, "device=gpu"),
        (lambda run: fundus.load(run.folder, threshold=2), fundus.ConfigError, "threshold=2"),
        (lambda run: run.load().predict("nowhere.png"), fundus.DataError, "nowhere.png"),
        (lambda run: run.load().predict(np.zeros((8, 8))), fundus.DataError, "uint8"),
        (lambda run: run.load().predict(np.zeros((8, 8, 3), np.uint8)), fundus.DataError, "black"),
        (
            lambda run: run.load().predict(np.full((8, 8, 3), 99, np.uint8)).mask("disc"),
            fundus.ConfigError,
            "structure=disc",
        ),
        (lambda run: run.load().evaluate("nothing"), fundus.ConfigError, "data=nothing"),
        (lambda run: fundus.train(["epoch=3"]), fundus.ConfigError, "did you mean epochs"),
        (
            lambda run: fundus.train([f"output={run.folder}"], verbose=False),
            fundus.RunFolderError,
            "already holds a run",
        ),
    ],
)
def test_errors_are_raised(run: fundus.TrainingRun, call, kind, text) -> None:
    with pytest.raises(kind, match=text):
        call(run)


def test_verbose_decides_whether_anything_is_printed(
    place: Path, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["epochs=1", *(word for word in words if not word.startswith("epochs="))]
    run = fundus.train([*words, f"output={place / 'quiet'}"], verbose=False)
    run.load().evaluate(overrides=["shape_metrics=false"])
    assert capfd.readouterr() == ("", "")
    fundus.train([*words, f"output={place / 'loud'}"])
    assert "Epoch: 1/1, Train Loss:" in capfd.readouterr().out


class OneConvolution(nn.Module):
    """As small as a network of one's own can be."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.layer(image)
        return logits


def half_bce(logits: Tensor, target: Tensor, fov_mask: Tensor) -> Tensor:
    return bce_loss(logits, target, fov_mask) / 2


def plain_sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1)


@pytest.fixture(scope="module")
def own(place: Path, words: list[str]) -> fundus.TrainingRun:
    torch.manual_seed(0)
    words = [w for w in words if not w.startswith("model.")]
    return fundus.train(
        [*words, "optimizer.lr=0.1", f"output={place / 'own'}"],
        model=OneConvolution(),
        loss=half_bce,
        optimizer=plain_sgd,
        verbose=False,
    )


class TestPartsOfOnesOwn:
    def test_the_network_is_trained_scored_and_loaded(
        self, own: fundus.TrainingRun, root: Path
    ) -> None:
        network = own.load()
        (layer,) = network.predictor.models
        assert isinstance(layer, OneConvolution)
        scores = network.evaluate()
        assert scores.pooled("vessel") == own.scores["vessel"]
        assert network.predict(root / "test_images" / "p6.png").mask().shape == (64, 64)

    def test_the_checkpoint_names_what_it_needs(self, own: fundus.TrainingRun) -> None:
        path = own.folder / "best.pt"
        saved = checkpoint.load(path, OneConvolution())
        assert set(saved.custom) == {"model", "loss", "optimizer"}
        assert saved.custom["model"].endswith("OneConvolution")
        with pytest.raises(fundus.DataError, match=r"OneConvolution.*model=") as error:
            fundus.load(path)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("program", ["eval", "predict", "export"])
    def test_the_programs_refuse_it_in_one_line(
        self, own: fundus.TrainingRun, program: str, root: Path, command: RunCommand
    ) -> None:
        more = [f"input={root / 'test_images'}"] if program == "predict" else []
        done = command(program, f"checkpoint={own.folder}", *more)
        assert done.returncode == 3
        assert "given from Python" in done.stderr and done.stderr.count("\n") == 1

    def test_fundus_train_does_not_resume_it(
        self, own: fundus.TrainingRun, words: list[str], command: RunCommand
    ) -> None:
        before = (own.folder / "last.pt").read_bytes()
        words = [w for w in words if not w.startswith(("model.", "epochs"))]
        more = ["optimizer.lr=0.1", "epochs=3", f"output={own.folder}", "resume=auto"]
        done = command("train", *words, *more)
        assert done.returncode == 3 and "given from Python" in done.stderr
        assert (own.folder / "last.pt").read_bytes() == before

    def test_it_is_resumed_with_the_same_parts_only(self, place: Path, words: list[str]) -> None:
        words = [w for w in words if not w.startswith(("model.", "epochs"))]
        words += ["optimizer.lr=0.1"]

        def trained(epochs: int, output: str, **parts: object) -> fundus.TrainingRun:
            torch.manual_seed(1)
            more = [f"epochs={epochs}", f"output={place / output}", "resume=auto"]
            more += ["scheduler=constant"]
            return fundus.train([*words, *more], model=OneConvolution(), verbose=False, **parts)

        trained(1, "parts", loss=half_bce)
        with pytest.raises(fundus.ConfigError, match="half_bce"):
            trained(2, "parts")
        resumed = trained(2, "parts", loss=half_bce)
        whole = trained(2, "whole", loss=half_bce)
        a, b = (checkpoint.load(r.folder / "last.pt", OneConvolution()) for r in (resumed, whole))
        assert all(torch.equal(a.model[name], b.model[name]) for name in a.model)
        assert a.progress.rows == b.progress.rows

    @pytest.mark.parametrize(
        ("word", "parts"),
        [
            ("model.depth=3", {"model": OneConvolution()}),
            ("model=wnet", {"model": OneConvolution()}),
            ("loss=bce", {"loss": half_bce}),
            ("loss.dice_weight=0.5", {"loss": half_bce}),
            ("optimizer=sgd", {"optimizer": plain_sgd}),
            ("optimizer.momentum=0.5", {"optimizer": plain_sgd}),
        ],
    )
    def test_a_key_without_effect_is_refused(self, word: str, parts: dict[str, object]) -> None:
        with pytest.raises(fundus.ConfigError, match=f"{word}: has no effect"):
            fundus.train([word], **parts)
