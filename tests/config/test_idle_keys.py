"""Every key either matters in every config, or a rule says in which one it does not."""

from pathlib import Path

import pytest
from conftest import RunCommand, small

import fundus_cli
from fundus_cli.config import SCHEMAS
from fundus_cli.config.compose import compose_config, set_keys
from fundus_cli.config.idle_keys import idle_keys, without_effect
from fundus_cli.config.keys import all_keys
from fundus_cli.config.overrides import typed_keys

FOLDER = "data.root=d"

IDLE: dict[str, dict[str, list[str]]] = {
    "train": {
        "data.patches_per_epoch": [FOLDER, "data.patches_per_image=4"],
        "data.patches_per_image": [FOLDER, "data.patch_px=null"],
        "data.fold": [FOLDER],
        "data.val_fraction": [FOLDER, "data.folds=5"],
        "data.demo": [FOLDER],
        "data.fov_angle_deg": [FOLDER, "data.fov_diameter_px=null"],
        "data.allow_change": [FOLDER],
        "loss.dice_weight": ["loss=bce"],
        "optimizer.momentum": ["optimizer=adamw"],
        "scheduler.warmup_fraction": ["scheduler=constant"],
        "scheduler.final_fraction": ["scheduler=constant"],
    },
    "eval": {
        "data.patch_px": [],
        "data.patches_per_epoch": [],
        "data.patches_per_image": [],
        "data.allow_change": [],
        "data.allow_odd_masks": [],
        "data.fov_diameter_px": ["data=hrf"],
        "data.normalisation": ["data=hrf"],
        "data.demo": ["data=hrf"],
        "data.train": ["split=test"],
        "data.val_fraction": ["split=test"],
        "data.folds": ["split=test"],
        "data.fold": ["split=test"],
        "data.test": ["split=val"],
    },
    "check": {
        "data.patch_px": [],
        "data.patches_per_epoch": [],
        "data.patches_per_image": [],
        "data.allow_change": [],
        "data.allow_odd_masks": [],
        "data.normalisation": [],
        "data.fov_diameter_px": [],
        "data.fov_angle_deg": [],
        "data.cache_gb": [],
        "data.fold": [],
        "data.val_fraction": ["data.folds=2"],
        "data.demo": [FOLDER],
    },
    "export": {"tta": ["format=safetensors"]},
    "report": {"output": ["path=a"]},
}
"""program -> key -> words with which it has no effect."""

SPLIT_KEYS = ("image", "targets", "fov", "fov_optional", "observer2", "ids")
DATA = (
    *("name", "root", "person", "folds", "patch_px", "fov_diameter_px", "normalisation"),
    *("on_bad", "mask_channel", "mask_threshold", "mask_foreground", "max_megapixels"),
    *("allow_odd_masks", "timeout_s", "cache_gb", "fov_angle_deg"),
    *(f"{split}.{key}" for split in ("train", "test") for key in SPLIT_KEYS),
)
ALWAYS: dict[str, tuple[str, ...]] = {
    "train": (
        *(f"data.{key}" for key in DATA),
        *("seed", "epochs", "batch_size", "device", "precision", "compile", "threshold"),
        *(
            "check_masks",
            "ema_decay",
            "tta",
            "overlays",
            "tracker",
            "output",
            "resume",
            "overwrite",
        ),
        *("save_every_min", "init_from", "loss.name", "optimizer.name", "optimizer.lr"),
        *("optimizer.weight_decay", "scheduler.name", "model.name", "model.base_channels"),
        *("model.depth", "model.prior_bias", "augment.flips", "augment.rotation_deg"),
        *(f"augment.{key}" for key in ("scale", "zoom", "brightness", "contrast", "colour")),
        *(f"augment.{key}" for key in ("detail", "illumination", "sharpness", "blur_px")),
        *(f"augment.{key}" for key in ("grey", "noise")),
    ),
    "eval": (
        *(f"data.{key}" for key in DATA),
        *("checkpoint", "split", "device", "precision", "threshold", "tta", "shape_metrics"),
        *("overlays", "output"),
    ),
    "check": (*(f"data.{key}" for key in DATA), "fix", "contact_sheet", "output"),
    "predict": (
        *("checkpoint", "input", "output", "fov", "fov_angle_deg", "probability", "overlay"),
        *("fov_mask", "overwrite", "threshold", "tta", "device", "precision"),
        *("max_megapixels", "timeout_s"),
    ),
    "export": ("checkpoint", "format", "file", "overwrite"),
    "report": ("path",),
}
"""program -> keys that matter in some config that is not in IDLE: they change what is done."""

NEEDED = {
    "eval": ["checkpoint=c"],
    "predict": ["checkpoint=c", "input=i"],
    "export": ["checkpoint=c"],
    "report": [],
}


@pytest.mark.parametrize("program", SCHEMAS)
def test_every_key_is_accounted_for(program: str) -> None:
    ruled = IDLE.get(program, {})
    for key in all_keys(SCHEMAS[program]):
        below = any(key == above or key.startswith(above + ".") for above in ruled)
        assert below or key in ALWAYS[program], f"{program}: {key}: which config makes it idle?"
    known = set(all_keys(SCHEMAS[program]))
    assert set(ALWAYS[program]) <= known


@pytest.mark.parametrize(
    ("program", "key", "words"),
    [(program, key, words) for program, keys in IDLE.items() for key, words in keys.items()],
)
def test_a_key_without_effect_is_named_with_what_decides(
    program: str, key: str, words: list[str]
) -> None:
    needed = [w for w in NEEDED.get(program, []) if w.partition("=")[0] not in typed_keys(words)]
    config = compose_config(program, [*needed, *words])
    (line,) = without_effect(config, [key, "seed"])
    assert line.startswith(f"warning: {key} has no effect: ")
    below = without_effect(config, [f"{key}.deeper"])
    assert len(below) == 1


def test_keys_that_matter_are_not_named() -> None:
    config = compose_config("train", ["data.root=d", "experiment=vessels", "data.folds=3"])
    idle = idle_keys(config)
    for key in ("data.patches_per_epoch", "data.fold", "loss.dice_weight", "optimizer.momentum"):
        assert key not in idle
    assert typed_keys(["data=hrf", "+experiment=x", "hydra/launcher=joblib", "epochs=2"]) == [
        "epochs"
    ]


def test_the_command_and_python_say_so(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [f"data.root={shared_tiny_set}", "output=run", *small("epochs=1")]
    line = "warning: data.patches_per_epoch has no effect: data.patches_per_image=2 decides"
    result = command("train", *words, "data.patches_per_epoch=64")
    assert result.returncode == 0, result.stderr
    assert line in result.stdout
    del words[1]
    fundus_cli.train([*words, f"output={tmp_path / 'api'}", "data.patches_per_epoch=64"])
    assert line in capfd.readouterr().out


def test_keys_of_presets_of_ones_own_are_named_too(tmp_path: Path) -> None:
    for group, name, text in (
        (
            "experiment",
            "mine",
            "# @package _global_\ndefaults:\n  - override /loss: bce\nepochs: 3\n",
        ),
    ):
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{name}.yaml").write_text(text)
    with (tmp_path / "experiment" / "mine.yaml").open("a") as file:
        file.write("loss:\n  dice_weight: 0.3\n")
    words = ["experiment=mine", "data.root=d"]
    keys = set_keys("train", words, tmp_path)
    assert sorted(keys) == ["data.root", "epochs", "loss.dice_weight"]
    config = compose_config("train", words, tmp_path)
    (line,) = without_effect(config, keys)
    assert line.startswith("warning: loss.dice_weight has no effect: loss=bce")
