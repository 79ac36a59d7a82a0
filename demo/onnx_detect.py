"""Detect objects with a file of `centernet2 export`; needs onnxruntime, NumPy and Pillow alone.

python onnx_detect.py pedestrian.onnx street.jpg drawn.png [least score]
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageOps

model, source, target, least = (*sys.argv[1:], "0.5")[:4]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
info = json.loads(session.get_modelmeta().custom_metadata_map["centernet2"])
picture = ImageOps.exif_transpose(Image.open(source)).convert("RGB")

(shorter, longer), sides = info["sides"], picture.size
scale = min(shorter / min(sides), longer / max(sides)) if shorter else 1.0
if info["size"]:  # fixed: fit in, and fill up below and to the right
    scale = min(info["size"][0] / sides[1], info["size"][1] / sides[0])
inner = [max(round(side * scale), 1) for side in sides]
canvas = Image.new("RGB", info["size"][::-1] if info["size"] else inner, tuple(info["padding"]))
canvas.paste(picture.resize(inner, Image.BILINEAR))
arrays = session.run(None, {"image": np.asarray(canvas)})
found = {output.name: array for output, array in zip(session.get_outputs(), arrays)}

boxes = np.minimum(found["boxes"] * np.tile(np.divide(sides, inner), 2), np.tile(sides, 2))
real = (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & (found["scores"] >= float(least))
drawn, green = ImageDraw.Draw(picture, "RGBA"), (0, 160, 90)
for i, box in zip(np.flatnonzero(real), boxes[real]):
    x0, y0, x1, y1 = map(int, [*np.floor(box[:2]), *np.ceil(box[2:])])
    text = f"{info['class_names'][found['labels'][i]]} {found['scores'][i]:.2f}"
    print(f"{text}  x {box[0]:.1f} - {box[2]:.1f}, y {box[1]:.1f} - {box[3]:.1f}")
    if info["masks"] == "boxes":
        mask = Image.fromarray(found["masks"][i]).resize((x1 - x0, y1 - y0), Image.BILINEAR)
        drawn.bitmap((x0, y0), Image.fromarray((np.asarray(mask) >= 0.5) * np.uint8(110)), green)
    drawn.rectangle([*box], outline=green, width=2)
    drawn.text((x0 + 3, y0 + 2), text, fill="white", stroke_width=1, stroke_fill="black")
picture.save(target)
