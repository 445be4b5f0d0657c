"""A photograph to a vessel mask with onnxruntime, numpy and Pillow alone.

python onnx_example.py best.onnx photo.jpg fov.png mask.png [fov_diameter_px]
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

model, photo, fov, mask = sys.argv[1:5]
session = onnxruntime.InferenceSession(model)
about = session.get_modelmeta().custom_metadata_map
image = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
inside = Image.open(fov).convert("L")
left, top, right, bottom = inside.getbbox()
size = image.size
if about["fov_diameter_px"] != "null":  # the working resolution: what the network was trained on
    found = float(sys.argv[5]) if len(sys.argv) > 5 else max(right - left, bottom - top)
    size = tuple(max(1, round(side * int(about["fov_diameter_px"]) / found)) for side in size)
kernel = Image.Resampling.BOX if size[1] < image.height else Image.Resampling.BILINEAR
inputs = {
    "image": np.asarray(image.resize(size, Image.Resampling.BICUBIC)).transpose(2, 0, 1)[None],
    "fov_mask": (np.asarray(inside.resize(size, kernel)) >= 128)[None, None],
    "native_fov_mask": (np.asarray(inside) >= 128)[None, None],
}
probability = session.run(None, inputs)[0][0, 0]  # of the first structure
drawn = (probability >= np.float32(about["threshold"])).astype(np.uint8) * np.uint8(255)
Image.fromarray(drawn).save(mask)
