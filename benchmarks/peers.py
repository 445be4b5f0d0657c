"""Training through other programs beside ours: images per second, memory, start-up.

    pip install -e '.[bench]'
    python benchmarks/peers.py path/to/CHASE_DB1 [--images 64] [--size 256] [--batch 8]

Each row is a process of its own that trains on random patches of the same 8 images, with as
many threads, for the same number of images of the same size, in the way that the program's own
documentation shows:

    ours            fundus-train's loop with the default network, and with one of 32 channels
    smp             segmentation-models-pytorch's U-Net (ResNet-34) in Lightning's trainer
    monai           MONAI's BasicUNet, its dictionary transforms and CacheDataset
    nnunet          nnU-Net v2's 2d trainer, after its own planning and preprocessing

The networks differ in size, so parameters are printed too. Images per second count from the end of
the first step and include reading and augmentation. A program that is not installed is a row that
says so. Prints a table and JSON.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import children
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

NUM_IMAGES = 8
MARK = "RESULT "
NEEDS = {
    "ours": (),
    "ours, 32 channels": (),
    "smp": ("segmentation_models_pytorch", "lightning"),
    "monai": ("monai",),
    "nnunet": ("nnunetv2",),
}


class Steps:
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def __call__(self, *_: object) -> None:
        self.ends.append(time.time())


def pairs(folder: Path) -> list[tuple[Path, Path]]:
    """The first images with the first observer's masks."""
    fundus_images = sorted(folder.glob("*.jpg"))[:NUM_IMAGES]
    return [(path, path.with_name(f"{path.stem}_1stHO.png")) for path in fundus_images]


def num_parameters(model: nn.Module) -> int:
    """Weights that are trained."""
    return sum(parameter.numel() for parameter in model.parameters())


def ours(options: argparse.Namespace, steps: Steps, *more: str) -> int:
    """The loop of fundus-train."""
    from fundus_cli.config.compose import compose_config
    from fundus_cli.data.dataset import load_dataset
    from fundus_cli.run.signals import StopRequest
    from fundus_cli.runtime.memory import keep_freed_memory
    from fundus_cli.training.loop import Console, Trainer

    keep_freed_memory()
    given = (
        *("data=chasedb1", f"data.root={options.folder}", f"data.patch_px={options.size}"),
        *(f"data.patches_per_epoch={options.images}", f"batch_size={options.batch}", *more),
    )
    config = compose_config("train", given)
    dataset = load_dataset(config.data, splits=("train",))
    with tempfile.TemporaryDirectory() as folder:
        console = Console(lambda line: None, steps)
        trainer = Trainer(config, dataset, Path(folder), StopRequest(), console)
        trainer._train_epoch(0)
    return num_parameters(trainer.learner.model)


class RandomPatches(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """The usual torch data set: each item decodes an image, cuts a patch and mirrors it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.files, self.options = pairs(options.folder), options

    def __len__(self) -> int:
        return int(self.options.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        random = np.random.default_rng(index)
        image, mask = (np.array(Image.open(path)) for path in self.files[index % len(self.files)])
        size = self.options.size
        y, x = (int(random.integers(side - size + 1)) for side in image.shape[:2])
        planes = [image[y : y + size, x : x + size], mask[y : y + size, x : x + size] > 0]
        if random.random() < 0.5:
            planes = [plane[:, ::-1] for plane in planes]
        image, mask = (np.ascontiguousarray(plane) for plane in planes)
        tensor = torch.from_numpy(image).permute(2, 0, 1).float() / 255
        return tensor, torch.from_numpy(mask)[None].float()


def smp(options: argparse.Namespace, steps: Steps) -> int:
    """As its examples do: a LightningModule, Dice loss, Adam, a DataLoader."""
    import lightning
    import segmentation_models_pytorch

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = segmentation_models_pytorch.Unet("resnet34", encoder_weights=None)
            self.loss = segmentation_models_pytorch.losses.DiceLoss("binary", from_logits=True)

        def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
            image, mask = batch
            loss: Tensor = self.loss(self.model(image), mask)
            return loss

        def on_train_batch_end(self, *_: object) -> None:
            steps()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=2e-4)

    module = Module()
    loader = torch.utils.data.DataLoader(RandomPatches(options), options.batch, shuffle=True)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(module, loader)
    return num_parameters(module.model)


def monai(options: argparse.Namespace, steps: Steps) -> int:
    """As its tutorials do: dictionary transforms, images cached, DiceCE loss, Adam."""
    from monai import transforms
    from monai.data import CacheDataset, DataLoader
    from monai.losses import DiceCELoss
    from monai.networks.nets import BasicUNet

    keys = ["image", "mask"]
    given = pairs(options.folder)
    files = [{"image": str(image), "mask": str(mask)} for image, mask in given]
    # The deterministic transforms are cached, the random ones made anew for each patch.
    transform = transforms.Compose(
        [
            transforms.LoadImaged(keys, image_only=True, ensure_channel_first=True),
            transforms.ScaleIntensityd(keys),
            transforms.RandSpatialCropd(keys, (options.size, options.size), random_size=False),
            transforms.RandFlipd(keys, prob=0.5, spatial_axis=0),
            transforms.RandFlipd(keys, prob=0.5, spatial_axis=1),
            transforms.RandRotated(keys, np.pi, prob=1.0, mode=["bilinear", "nearest"]),
        ]
    )
    data = CacheDataset(files, transform, progress=False)
    subset = torch.utils.data.Subset(data, [n % len(files) for n in range(options.images)])
    model = BasicUNet(spatial_dims=2, in_channels=3, out_channels=1)
    loss_of = DiceCELoss(sigmoid=True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for batch in DataLoader(subset, batch_size=options.batch, shuffle=True):
        optimizer.zero_grad()
        loss = loss_of(model(batch["image"]), batch["mask"])
        loss.backward()
        optimizer.step()
        loss.item()
        steps()
    return num_parameters(model)


def nnunet(options: argparse.Namespace, steps: Steps) -> int:
    """Its 2d trainer on a data set written, planned and preprocessed as it asks for."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("raw", "preprocessed", "results"):
            os.environ[f"nnUNet_{name}"] = str(Path(folder) / name)
        os.environ["nnUNet_n_proc_DA"] = "1"  # noqa: SIM112 (its own spelling)
        _write_for_nnunet(Path(folder) / "raw" / "Dataset001_vessels", options)
        from nnunetv2.experiment_planning import plan_and_preprocess_api as api
        from nnunetv2.run.run_training import get_trainer_from_args

        num_threads = torch.get_num_threads()
        api.extract_fingerprints([1], num_processes=1)
        api.plan_experiments([1])
        api.preprocess([1], configurations=["2d"], num_processes=[1])
        base = Path(folder) / "preprocessed" / "Dataset001_vessels"
        plans = json.loads((base / "nnUNetPlans.json").read_text())
        planned = plans["configurations"]["2d"]
        planned["batch_size"] = options.batch
        planned["patch_size"] = [options.size, options.size]
        _fit_depth(planned["architecture"]["arch_kwargs"], options.size)
        (base / "nnUNetPlans.json").write_text(json.dumps(plans))
        # Its planner wants a process and changes the threads; its trainer augments in this process.
        os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112
        torch.set_num_threads(num_threads)
        trainer = get_trainer_from_args(base.name, "2d", "all", device=torch.device("cpu"))
        trainer.initialize()
        trainer.on_train_start()
        for _ in range(options.images // options.batch):
            trainer.train_step(next(trainer.dataloader_train))
            steps()
        return num_parameters(trainer.network)


def _fit_depth(planned: dict[str, Any], size: int) -> None:
    """As few levels as nnU-Net plans for patches of this size: the lowest keeps 4 pixels."""
    kept, side = 0, size
    for stride, _ in planned["strides"]:
        side //= stride
        if side < 4:
            break
        kept += 1
    planned["n_stages"] = kept
    for key in ("features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage"):
        planned[key] = planned[key][:kept]
    planned["n_conv_per_stage_decoder"] = planned["n_conv_per_stage_decoder"][: kept - 1]


def _write_for_nnunet(folder: Path, options: argparse.Namespace) -> None:
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for fundus_image, mask in pairs(options.folder):
        Image.open(fundus_image).save(folder / "imagesTr" / f"{fundus_image.stem}_0000.png")
        labels = (np.array(Image.open(mask)) > 0).astype(np.uint8)
        Image.fromarray(labels).save(folder / "labelsTr" / f"{fundus_image.stem}.png")
    about = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "vessel": 1},
        "numTraining": NUM_IMAGES,
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(about))


WAYS: dict[str, Callable[[argparse.Namespace, Steps], int]] = {
    "ours": ours,
    "ours, 32 channels": lambda options, steps: ours(options, steps, "model.base_channels=32"),
    "smp": smp,
    "monai": monai,
    "nnunet": nnunet,
}


def rows(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, float | str]]]:
    """Each program's figures, as they come."""
    for name in WAYS:
        missing = [module for module in NEEDS[name] if importlib.util.find_spec(module) is None]
        if missing:
            yield name, {"state": f"not installed: {', '.join(missing)}"}
            continue
        sizes = (f"--{key}={getattr(options, key)}" for key in ("images", "size", "batch"))
        started = time.time()
        try:
            command = [sys.executable, __file__, str(options.folder), *sizes]
            child = children.run([*command, f"--way={name}"])
        except CalledProcessError as error:
            last = error.output.strip().splitlines()[-1:]
            yield name, {"state": f"failed: {' '.join(last)[:200]}"}
            continue
        line = next(text for text in child.output.splitlines() if text.startswith(MARK))
        found = json.loads(line.removeprefix(MARK))
        first, *_, last_end = found["ends"]
        yield (
            name,
            {
                "images_per_s": options.batch * (len(found["ends"]) - 1) / (last_end - first),
                "peak_mb": child.peak_mb,
                "first_step_s": first - started,
                "parameters": found["parameters"],
            },
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder of CHASE_DB1")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.images < 2 * options.batch:
        parser.error("--images: at least two batches")
    if options.way:
        steps = Steps()
        parameters = WAYS[options.way](options, steps)
        print(MARK + json.dumps({"ends": steps.ends, "parameters": parameters}))
        return
    result = {}
    print(f"{'':18} images/s  peak MB  first step s  parameters")
    for name, row in rows(options):
        result[name] = row
        if "state" in row:
            print(f"{name:18} {row['state']}")
        else:
            print(
                f"{name:18} {row['images_per_s']:8.2f} {row['peak_mb']:8.0f} "
                f"{row['first_step_s']:13.1f} {row['parameters']:11,}"
            )
    print(
        json.dumps(
            {"threads": torch.get_num_threads(), **vars(options), "rows": result}, default=str
        )
    )


if __name__ == "__main__":
    main()
