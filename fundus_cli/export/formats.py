"""Convert a prediction graph to the bytes of another format, and run it from these bytes."""

import io
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fundus_cli.config import ExportFormat
from fundus_cli.errors import ConfigError
from fundus_cli.export.graph import INPUTS, OUTPUT, PredictionGraph

LIBRARIES = {
    ExportFormat.onnx: ("onnx", "onnxscript", "onnxruntime"),
    ExportFormat.safetensors: ("safetensors",),
    ExportFormat.torchscript: (),
}
OPSET = 18
METADATA_FILE = "metadata.json"

Run = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""image, fov_mask, native_fov_mask -> probability, as PredictionGraph.forward."""


def check_libraries(form: ExportFormat) -> None:
    """Fail early when a library is missing.

    Raises:
        ConfigError: naming what to install.
    """
    missing = [name for name in LIBRARIES[form] if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"format={form.value}: needs {', '.join(missing)}; pip install 'fundus-cli[export]'"
        )


def to_onnx(graph: PredictionGraph, metadata: Mapping[str, str]) -> bytes:
    """The graph as ONNX with free batch, height and width."""
    import onnx

    free = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        graph,
        _example_inputs(),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(INPUTS),
        output_names=[OUTPUT],
        dynamic_shapes=[{0: free, 2: free, 3: free} for _ in INPUTS],
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        # They contain paths and source lines of the exporting machine.
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    return bytes(model.SerializeToString())


def run_onnx(content: bytes) -> Run:
    """The ONNX file in onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(*inputs: np.ndarray) -> np.ndarray:
        (probability,) = session.run(None, dict(zip(INPUTS, inputs, strict=True)))
        return np.asarray(probability)

    return run


def to_torchscript(graph: PredictionGraph, metadata: Mapping[str, str]) -> bytes:
    """The graph as TorchScript, metadata in the extra file metadata.json."""
    with warnings.catch_warnings():
        # Deprecated in favour of torch.export, whose files C++ programs cannot yet read.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            graph, _example_inputs(), check_trace=False
        )
        buffer = io.BytesIO()
        extra = {METADATA_FILE: json.dumps(dict(metadata))}
        torch.jit.save(traced, buffer, _extra_files=extra)
    return _without_source(buffer.getvalue())


def _without_source(archive: bytes) -> bytes:
    """Without the files that map code to paths and lines on the exporting machine."""
    kept = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(kept, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                new.writestr(entry.filename, old.read(entry))
    return kept.getvalue()


def run_torchscript(content: bytes) -> Run:
    """The TorchScript file in torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]
    return run_module(loaded)


def to_safetensors(weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The weights of one network, each with its name in the network."""
    from safetensors.torch import save

    content = {name: tensor.detach().contiguous() for name, tensor in weights.items()}
    return bytes(save(content, dict(metadata)))


def from_safetensors(content: bytes) -> dict[str, Tensor]:
    """Read the weights of one network."""
    from safetensors.torch import load

    return dict(load(content))


def run_module(module: nn.Module) -> Run:
    """A torch module as a function of arrays."""

    def run(*inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            result: Any = module(*(torch.from_numpy(array) for array in inputs))
        return np.asarray(result.numpy())

    return run


def _example_inputs() -> tuple[Tensor, ...]:
    """Inputs whose sizes are unequal and not multiples, so that no size is recorded as fixed."""
    shapes: Sequence[tuple[int, ...]] = ((2, 3, 83, 95), (2, 1, 83, 95), (2, 1, 101, 113))
    image = torch.arange(2 * 3 * 83 * 95).reshape(shapes[0]).to(torch.uint8)
    return image, *(torch.ones(shape, dtype=torch.bool) for shape in shapes[1:])
