"""Scores of whole images against scikit-learn on the same pixels, at native size."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import write_tiny_set
from PIL import Image
from scipy import ndimage
from sklearn import metrics as oracle

from fundus_cli.config.compose import compose_config
from fundus_cli.data.dataset import load_dataset
from fundus_cli.data.samples import PackedMasks, Sample
from fundus_cli.evaluation import shape_metrics
from fundus_cli.evaluation.evaluator import Evaluation, evaluate
from fundus_cli.evaluation.protocol import ORIGIN, REGIONS, Protocol
from fundus_cli.evaluation.score_table import table
from fundus_cli.evaluation.shape_metrics import Shape, count_centrelines
from fundus_cli.run.files import strict

THRESHOLD = 0.375


def protocol(**more: object) -> Protocol:
    values: dict[str, object] = {
        "data": "tiny",
        "split": "test",
        "num_images": 4,
        "threshold": THRESHOLD,
        "threshold_origin": "val",
        "checkpoint_rule": "epoch 2, best Dice on validation images",
        "trained_on": "small",
        "num_models": 1,
        "tta": False,
        "dtype": "float32",
    }
    return Protocol(**(values | more))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_set(tmp_path_factory.mktemp("scored") / "data", train=2, test=4)


@pytest.fixture(scope="module")
def samples(root: Path) -> list[Sample]:
    """Four images of 64 pixels, for a network that works at half of it."""
    overrides = (f"data.root={root}", "data=folder", "data.fov_diameter_px=32")
    return load_dataset(compose_config("train", overrides).data, ("test",)).samples["test"]


def predict(sample: Sample) -> list[np.ndarray]:
    """What a middling network would say, the same for an image whenever it is asked."""
    random = np.random.default_rng(int(sample.id.removeprefix("p")))
    target = sample.native_targets.unpack().astype(np.float32)
    soft = ndimage.gaussian_filter(target, (0, 1, 1)) + 0.3 * random.random(target.shape)
    return [(soft.clip(0, 1) * sample.native_fov.unpack()).astype(np.float32)]


def scored(samples: list[Sample], **more: bool) -> Evaluation:
    return evaluate(predict, samples, ["vessel"], [protocol()], **more)[0]


def as_text(evaluation: Evaluation) -> str:
    everything = [evaluation.to_plain(), evaluation.rows, evaluation.curves]
    return json.dumps(strict(everything), allow_nan=False)


@pytest.mark.parametrize("region", REGIONS)
def test_pooled_metrics_equal_scikit_learns_on_the_native_pixels(
    samples: list[Sample], root: Path, region: str
) -> None:
    p, t = [], []
    for sample in samples:
        # Read here with Pillow alone: the native annotation, whatever the working resolution.
        with Image.open(root / "test_masks" / f"{sample.id}.png") as file:
            target = np.asarray(file) > 0
        inside = sample.native_fov.unpack()[0] if region == "fov" else np.ones_like(target)
        assert sample.image.shape[1] < target.shape[0] == 64
        p.append(predict(sample)[0][0][inside])
        t.append(target[inside])
    probability, target = np.concatenate(p), np.concatenate(t)
    prediction = probability >= np.float32(THRESHOLD)
    pooled = scored(samples).pooled("vessel", region)
    tn, fp, _, _ = oracle.confusion_matrix(target, prediction).ravel()
    expected = {
        "dice": oracle.f1_score(target, prediction),
        "iou": oracle.jaccard_score(target, prediction),
        "sensitivity": oracle.recall_score(target, prediction),
        "specificity": tn / (tn + fp),
        "precision": oracle.precision_score(target, prediction),
        "accuracy": oracle.accuracy_score(target, prediction),
        "mcc": oracle.matthews_corrcoef(target, prediction),
        "auc_roc": oracle.roc_auc_score(target, probability),
        "auc_pr": oracle.average_precision_score(target, probability),
    }
    for name, value in expected.items():
        assert pooled[name] == pytest.approx(value, abs=1e-4 if "auc" in name else 1e-12), name


def test_a_row_per_image_with_every_metric(samples: list[Sample]) -> None:
    evaluation = scored(samples)
    assert [row["id"] for row in evaluation.rows] == ["p2", "p3", "p4", "p5"]
    for row, sample in zip(evaluation.rows, samples, strict=True):
        fov = sample.native_fov.unpack()[0]
        target, probability = sample.native_targets.unpack()[0], predict(sample)[0][0]
        assert row["fov_px"] == fov.sum() == row["tp"] + row["fp"] + row["fn"] + row["tn"]
        assert row["tp"] + row["fn"] == (target & fov).sum()
        assert row["rater"] == "network"
        assert row["auc_roc"] == pytest.approx(
            oracle.roc_auc_score(target[fov], probability[fov]), abs=1e-4
        )
        assert row["mean_probability"] == pytest.approx(probability[fov].mean(), abs=1e-6)
        prediction = probability >= np.float32(THRESHOLD)
        lines = count_centrelines(Shape(prediction, fov), Shape(target, fov))
        assert lines is not None
        assert row["cldice"] == lines.cldice()
    per_image = evaluation.regions["fov"]["vessel"]["per_image"]
    for name in ("dice", "auc_roc", "auc_pr", "ece", "cldice", "hd95_px"):
        values = [row[name] for row in evaluation.rows]
        assert per_image[name]["mean"] == pytest.approx(np.mean(values))
        assert per_image[name]["sd"] == pytest.approx(np.std(values, ddof=1))
        assert per_image[name]["num_undefined"] == 0


def test_the_order_of_the_images_changes_nothing(samples: list[Sample]) -> None:
    one = as_text(scored(samples))
    assert as_text(scored(samples[::-1])) == one
    assert as_text(scored([samples[i] for i in (2, 0, 3, 1)])) == one


def test_intervals_hold_the_pooled_value_and_at_half_counts_at_a_half(
    samples: list[Sample],
) -> None:
    summary = scored(samples).regions["fov"]["vessel"]
    assert set(summary["interval_95"]) == set(summary["pooled"]) - {"cldice"}
    for name, (low, high) in summary["interval_95"].items():
        assert low <= summary["pooled"][name] <= high, name
    at_half = evaluate(predict, samples, ["vessel"], [protocol(threshold=0.5)])[0]
    assert summary["at_half"]["threshold"] == 0.5
    own = at_half.pooled("vessel")
    assert summary["at_half"]["pooled"] == {n: own[n] for n in summary["at_half"]["pooled"]}
    assert summary["at_half"]["pooled"]["dice"] != summary["pooled"]["dice"]


def test_a_second_observer_is_scored_like_a_network(samples: list[Sample]) -> None:
    masks = [ndimage.binary_dilation(s.native_targets.unpack()[0]) for s in samples]
    # The last image has no second observer.
    seen = [
        replace(s, native_observer2={"vessel": PackedMasks.pack(m[None])})
        for s, m in zip(samples[:3], masks[:3], strict=True)
    ]
    evaluation = scored([*seen, samples[3]])
    second = evaluation.regions["fov"]["vessel"]["observer2"]
    assert second["num_images"] == 3
    fov = [s.native_fov.unpack()[0] for s in seen]
    target = np.concatenate(
        [s.native_targets.unpack()[0][f] for s, f in zip(seen, fov, strict=True)]
    )
    drawn = np.concatenate([m[f] for m, f in zip(masks[:3], fov, strict=True)])
    assert second["pooled"]["dice"] == pytest.approx(oracle.f1_score(target, drawn))
    assert second["pooled"]["mcc"] == pytest.approx(oracle.matthews_corrcoef(target, drawn))
    assert second["per_image"]["hd95_px"]["mean"] >= 1
    assert "auc_roc" not in second["pooled"]
    assert [row["id"] for row in evaluation.observer2_rows] == ["p2", "p3", "p4"]
    assert {row["rater"] for row in evaluation.observer2_rows} == {"observer2"}
    # The difference is taken on the three images that both have.
    network = scored(seen).pooled("vessel")["dice"]
    beside = second["network_minus_observer2"]
    assert beside["dice"] == pytest.approx(network - second["pooled"]["dice"])
    low, high = beside["interval_95"]
    assert low <= beside["dice"] <= high
    assert "second observer" in table(evaluation)
    assert "paired bootstrap over 3 images" in table(evaluation)


def test_an_undefined_value_is_left_out_and_counted(samples: list[Sample]) -> None:
    empty = PackedMasks.pack(np.zeros((1, 64, 64), bool))
    blank = replace(samples[0], native_targets=empty)

    def nothing_on_blank(sample: Sample) -> list[np.ndarray]:
        return [predict(sample)[0] * np.float32(sample.native_targets.unpack().any())]

    evaluation = evaluate(nothing_on_blank, [blank, *samples[1:]], ["vessel"], [protocol()])[0]
    row = evaluation.rows[0]
    for name in ("dice", "sensitivity", "precision", "mcc", "auc_roc", "cldice", "hd95_px"):
        assert math.isnan(row[name]), name
    assert row["accuracy"] == row["specificity"] == 1
    others = [own["dice"] for own in evaluation.rows[1:]]
    dice = evaluation.regions["fov"]["vessel"]["per_image"]["dice"]
    assert dice["num_undefined"] == 1
    assert dice["mean"] == pytest.approx(np.mean(others))
    assert not math.isnan(evaluation.pooled("vessel")["dice"])


def test_whole_counts_what_the_annotation_has_outside_the_field_of_view(
    samples: list[Sample],
) -> None:
    drawn = samples[0].native_targets.unpack().copy()
    drawn[0, :3, :3] = True
    beyond = replace(samples[0], native_targets=PackedMasks.pack(drawn))
    evaluation = scored([beyond])
    fov, whole = (evaluation.pooled("vessel", region) for region in REGIONS)
    assert whole["sensitivity"] < fov["sensitivity"]
    assert whole["cldice"] < fov["cldice"]
    inside = scored([samples[0]])
    assert inside.pooled("vessel", "whole")["cldice"] == inside.pooled("vessel")["cldice"]
    assert inside.pooled("vessel", "whole")["accuracy"] > inside.pooled("vessel")["accuracy"]


def test_without_shape_metrics_everything_else_is_the_same(samples: list[Sample]) -> None:
    full, quick = scored(samples), scored(samples, shape_metrics=False)
    shapes = {"cldice", "hd95_px", "mean_surface_distance_px"}
    for own, other in zip(full.rows, quick.rows, strict=True):
        assert set(own) - set(other) == shapes
        assert {key: own[key] for key in other} == other
    pooled = full.pooled("vessel")
    assert {n: pooled[n] for n in quick.pooled("vessel")} == quick.pooled("vessel")
    assert "-" in table(quick).splitlines()[1]
    assert sum(quick.curves["structures"]["vessel"]["by_width"]["num_target_px"]) == 0


def test_what_is_too_thick_to_thin_has_no_centreline_but_distances(
    samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shape_metrics, "MAX_THINNING_WORK", 20_000)

    def everything(sample: Sample) -> list[np.ndarray]:
        return [sample.native_fov.unpack().astype(np.float32)]

    evaluation = evaluate(everything, samples, ["vessel"], [protocol()])[0]
    assert all(math.isnan(row["cldice"]) for row in evaluation.rows)
    assert all(row["hd95_px"] > 1 for row in evaluation.rows)
    assert math.isnan(evaluation.pooled("vessel")["cldice"])
    assert not math.isnan(scored(samples).pooled("vessel")["cldice"])


def test_several_predictions_in_one_pass_equal_each_alone(samples: list[Sample]) -> None:
    def inverted(sample: Sample) -> list[np.ndarray]:
        return [(1 - predict(sample)[0]) * sample.native_fov.unpack()]

    both = evaluate(
        lambda sample: [*predict(sample), *inverted(sample)],
        samples,
        ["vessel"],
        [protocol(), protocol(threshold=0.7)],
    )
    assert as_text(both[0]) == as_text(scored(samples))
    alone = evaluate(inverted, samples, ["vessel"], [protocol(threshold=0.7)])[0]
    assert as_text(both[1]) == as_text(alone)


def test_every_protocol_says_what_the_numbers_depend_on(samples: list[Sample]) -> None:
    content = scored(samples).to_plain()
    assert [own["region"] for own in content["protocols"]] == ["fov", "whole"]
    for own in content["protocols"]:
        assert own["threshold"] == THRESHOLD
        assert own["threshold_origin"] == "val"
        assert (own["split"], own["num_images"], own["size"]) == ("test", 4, "native")
        assert (own["tta"], own["dtype"], own["num_models"]) == (False, "float32", 1)
        assert own["checkpoint_rule"].startswith("epoch 2")
        assert own["trained_on"] == "small"
        assert "; trained on small; checkpoint: epoch 2" in own["protocol"]
        assert "divided once" in own["aggregation"]
        assert "4 test images of tiny at native size" in own["protocol"]
        assert "0.3750, chosen for the best Dice on validation images" in own["protocol"]
    assert "inside the field of view" in content["protocols"][0]["protocol"]
    assert "including the dark surround" in content["protocols"][1]["protocol"]
    sentence = protocol(num_models=3, tta=True, num_images=1).sentence("fov")
    assert "1 test image of" in sentence
    assert "3 networks averaged" in sentence
    assert "averaged over four flips" in sentence
    assert "by some members" in protocol(tta=None).sentence("fov")
    assert "test" not in ORIGIN


def test_the_table_fits_a_terminal_and_its_numbers_are_those_of_the_file(
    samples: list[Sample],
) -> None:
    evaluation = scored(samples)
    lines = table(evaluation).splitlines()
    assert max(len(line) for line in lines[:3]) <= 120
    assert lines[1].startswith("vessel, fov")
    assert f"{evaluation.pooled('vessel')['dice']:.4f}" in lines[1]
    assert f"{evaluation.pooled('vessel', 'whole')['dice']:.4f}" in lines[2]
    assert lines[-1] == evaluation.protocol.sentence("fov")
