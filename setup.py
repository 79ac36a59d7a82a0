"""Installs CenterNet2 beside a Detectron2 and a PyTorch that are there already.

Neither is listed below: which build fits depends on the machine's CUDA, and pip must never replace
the one that you chose. ``python -m centernet2.env`` tells what is missing, and the cure.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def read_version() -> str:
    text = (ROOT / "centernet2" / "version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if match is None:
        raise RuntimeError('centernet2/version.py has no line __version__ = "..."')
    return match.group(1)


def read_readme() -> str:
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


setup(
    name="centernet2",
    version=read_version(),
    description="CenterNet2 (probabilistic two-stage detection) for Detectron2",
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.9",
    entry_points={"console_scripts": ["centernet2 = centernet2.cli.main:main"]},
    packages=find_packages(include=["centernet2", "centernet2.*"]),
    package_data={"centernet2": ["py.typed", "model_zoo/**/*"]},
    install_requires=[
        "av>=15.0",
        "fvcore>=0.1.5",
        'hotcoco>=1.3; python_version >= "3.10"',
        "lvis>=0.5.3",
        "matplotlib>=3.5",
        "numpy>=1.22",
        "opencv-python>=4.5",
        "pillow>=9.1",
        "pycocotools>=2.0.4",
        "rich>=12.0",
        "safetensors>=0.4",
        "shapely>=2.0",
        "shtab>=1.7",
        "tqdm>=4.60",
    ],
    extras_require={
        "chart": ["plotly>=6.0"],
        "dev": [
            'gradio>=6.0; python_version >= "3.10"',
            "hypothesis",
            "ipykernel",
            "mypy",
            "nbclient",
            "onnx>=1.16",
            "onnxruntime>=1.18",
            "openvino>=2024.3",
            "plotly>=6.0",
            "pytest",
            "ruff",
            "supervision",
            "tensorboard",
            'trackers>=2.6; python_version >= "3.10"',
        ],
        "export": ["onnx>=1.16", "onnxruntime>=1.18", "openvino>=2024.3"],
        "supervision": ["supervision>=0.20"],
        "tracking": ['trackers>=2.6; python_version >= "3.10"'],
        "web": ['gradio>=6.0; python_version >= "3.10"'],
    },
)
