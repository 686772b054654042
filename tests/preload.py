"""What the fork server imports once for all training processes of the tests."""

import os

os.environ.update(DS_ACCELERATOR="cpu", OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")

from deepspeed.runtime.zero.muon import original_muon  # noqa: F401

import pretrain.training.run  # noqa: F401
