"""A whole epoch beside its steps alone, what evaluation takes of it, start-up and memory.

    python benchmarks/epoch.py [--repeats 3] [--hrf path/to/HRF] [data=chasedb1 data.root=... ...]

The words are those of fundus-train; without any it is data=demo. An epoch is what the loop does:
patches cut and augmented, steps, average of the weights, log, checkpoint, test loss. The steps
alone are on one batch that lies ready, taken in between, a few after every few of the epoch's own,
so that a machine that slows down slows both. Times are wall seconds and, steadier where something
else runs, processor seconds. Then, each in a process of its own: seconds from the command to the
first step, the peak memory of a short training, and with --hrf that of one on HRF (3504x2336).
Prints a table, and all of it as JSON.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import children
import torch

from fundus_cli.config.compose import compose_config
from fundus_cli.data.dataset import load_dataset
from fundus_cli.run.signals import StopRequest
from fundus_cli.runtime.memory import keep_freed_memory
from fundus_cli.training.loop import Console, Trainer

CLOCKS: dict[str, Callable[[], float]] = {
    "wall": time.perf_counter,
    "processor": time.process_time,
}
SHORT = ("epochs=1", "overlays=0", "data.patches_per_epoch=32")
HRF_LIMIT_MB = 4096
FEW = 4
"""Steps of the epoch, then steps alone, in turns; a GPU is waited for in between."""


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds of `work` by each clock."""
    started = {name: clock() for name, clock in CLOCKS.items()}
    work()
    return {name: clock() - started[name] for name, clock in CLOCKS.items()}


def measure_epoch(trainer: Trainer, epoch: int) -> dict[str, dict[str, float]]:
    """Seconds of one epoch's parts, and of as many steps on a batch that lies ready."""
    learner, num_steps = trainer.learner, trainer.num_batches
    ready = trainer.sampler.batch(0, trainer.sampler.order(0)[: trainer.config.batch_size])
    few = min(FEW, num_steps)
    alone = dict.fromkeys(CLOCKS, 0.0)
    turns = 0

    def steps_alone() -> None:
        for number in range(few):
            learner.step(ready, epoch, number)
        learner.flush()

    def in_between(_epoch: int, done: int, _num_steps: int) -> None:
        nonlocal turns
        if done % few:
            return
        # Part of the epoch: its steps may still be on their way on a GPU.
        learner.flush()
        for name, seconds in timed(steps_alone).items():
            alone[name] += seconds
        turns += 1

    trainer.console = Console(trainer.console.print_line, in_between)
    both = timed(lambda: trainer._train_epoch(epoch))
    close = timed(lambda: trainer._close_epoch(epoch))
    save = timed(trainer.save)
    steps = {name: alone[name] * num_steps / (turns * few) for name in CLOCKS}
    train = {name: both[name] - alone[name] for name in CLOCKS}
    evaluation = {name: close[name] - save[name] for name in CLOCKS}
    return {"steps": steps, "train": train, "save": save, "evaluation": evaluation}


def ratios(epochs: list[dict[str, dict[str, float]]], clock: str) -> dict[str, float]:
    """Medians over the epochs of what is aimed at."""
    return {
        "throughput_of_steps_alone": statistics.median(
            e["steps"][clock] / (e["train"][clock] + e["save"][clock]) for e in epochs
        ),
        "evaluation_share": statistics.median(
            e["evaluation"][clock] / sum(e[p][clock] for p in ("train", "save", "evaluation"))
            for e in epochs
        ),
    }


def in_this_process(words: list[str], repeats: int) -> dict[str, object]:
    """Epochs of a trainer as fundus-train builds it."""
    keep_freed_memory()
    given = (*words, f"epochs={repeats + 1}", "threshold=0.5")
    config = compose_config("train", given)
    dataset = load_dataset(config.data)
    console = Console(lambda line: None, lambda *numbers: None)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, dataset, Path(folder), StopRequest(), console)
        epochs = [measure_epoch(trainer, epoch) for epoch in range(repeats)]
    num = len(trainer.sampler)
    for part in epochs[0]:
        seconds = {name: statistics.median(e[part][name] for e in epochs) for name in CLOCKS}
        text = "  ".join(f"{name} {value:8.2f} s" for name, value in seconds.items())
        print(f"{part:12} {text}  {num / seconds['wall']:8.1f} images/s")
    result = {name: ratios(epochs, name) for name in CLOCKS}
    for name, found in result.items():
        print(
            f"{name:12} epoch / steps alone {found['throughput_of_steps_alone']:.3f} (aim .95)  "
            f"evaluation {found['evaluation_share']:.3f} of an epoch (aim .10)"
        )
    return {"epochs": epochs, "ratios": result, "images": num, "steps": trainer.num_batches}


def in_their_own(words: list[str], hrf: Path | None, repeats: int) -> dict[str, float]:
    """Start-up and memory of the command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = [
            children.seconds_until(children.train_command(folder / f"start{n}", *words), "epoch 1:")
            for n in range(repeats)
        ]
        found = {"first_step_s": statistics.median(seconds)}
        print(f"{'first step':12} {found['first_step_s']:8.2f} s after the command (aim 6)")
        peak = children.run(children.train_command(folder / "memory", *words, *SHORT)).peak_mb
        found["peak_mb"] = peak
        print(f"{'memory':12} {peak:8.0f} MB peak of training")
        if hrf is not None:
            given = ("data=hrf", f"data.root={hrf}", *SHORT)
            peak = children.run(children.train_command(folder / "hrf", *given)).peak_mb
            found["hrf_peak_mb"] = peak
            print(f"{'memory':12} {peak:8.0f} MB peak of training on HRF (aim {HRF_LIMIT_MB})")
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hrf", type=Path)
    parser.add_argument("words", nargs="*", help="as for fundus-train")
    options = parser.parse_args()
    result = {
        "words": options.words,
        "threads": torch.get_num_threads(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        # First: a process begins with the peak memory of the one that starts it.
        **in_their_own(options.words, options.hrf, options.repeats),
        **in_this_process(options.words, options.repeats),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
