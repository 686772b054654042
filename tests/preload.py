"""What the fork server imports once for all training processes of the tests."""

import os

os.environ.update(DS_ACCELERATOR="cpu", OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")

import deepspeed  # noqa: E402
import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: E402
import torch._dynamo  # noqa: E402
import torch._refs  # noqa: E402, F401

import pretrain.training.run  # noqa: E402, F401
