"""What the fork server imports once for all processes of all layouts. Its environment is its own."""

import os

# before torch and deepspeed are imported: no GPU, one thread each, no search for an accelerator
os.environ.update(DS_ACCELERATOR="cpu", OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")

import torch._dynamo
import torch._refs  # noqa: F401

import pretrain.cli.main
import pretrain.parallel.pipeline
import pretrain.verification.worker  # noqa: F401
