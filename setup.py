"""Packaging. The three packages are plain folders; config/ and systemd/ are data under share/sightd."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "sightd" / "__init__.py").read_text("utf-8")).group(1)

ONNXRUNTIME = "onnxruntime>=1.16"
# JetPack brings an OpenCV of its own, with GStreamer: only who has none takes this extra.
OPENCV = "opencv-python-headless>=4.5.4"
EXTRAS = {
    "ort": [ONNXRUNTIME],
    "opencv": [OPENCV],
    "cpu": [ONNXRUNTIME, OPENCV],
    "gpu": ["pycuda>=2022.1"],
    "convert": ["onnx>=1.14", ONNXRUNTIME],
    "export": ["torch>=1.13"],
    "dynamo": ["onnxscript>=0.5; python_version >= '3.9'", "torch>=2.6; python_version >= '3.9'"],
    "systemd": ["systemd-python>=234"],
    "dev": [
        "coverage>=7",
        "hypothesis>=6",
        "import-linter>=2; python_version >= '3.9'",
        "mypy>=1.10; python_version >= '3.9'",
        "pytest>=8",
        "pytest-timeout>=2",
        "ruff>=0.6",
    ],
}


def data_files(folder):
    """The files of *folder* and below, for share/sightd."""
    folders = [ROOT / folder, *(path for path in sorted((ROOT / folder).rglob("*")) if path.is_dir())]
    return [
        (
            f"share/sightd/{inner.relative_to(ROOT)}",
            [str(path.relative_to(ROOT)) for path in sorted(inner.iterdir()) if path.is_file()],
        )
        for inner in folders
    ]


setup(
    name="sightd",
    version=VERSION,
    description="RTSP cameras in, MQTT detections out: an INT8 engine calibrated on your own cameras, run for years",
    long_description=(ROOT / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.8",
    packages=find_packages(include=["sightd*", "daemon*", "converter*"]),
    package_data={"sightd": ["py.typed", "engines/*.cu"], "daemon": ["py.typed"], "converter": ["py.typed"]},
    data_files=[*data_files("config"), *data_files("systemd")],
    install_requires=[
        "eval-type-backport>=0.2; python_version < '3.10'",
        "msgspec>=0.18",
        "numpy>=1.20",
        "paho-mqtt>=2.0",
        "prometheus-client>=0.20",
        "pydantic>=2.5",
        "rich>=13",
        "ruamel.yaml>=0.17",
        "typer>=0.12.4",
        "typing_extensions>=4.7",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["sightd = sightd.cli:main"]},
)
