"""Tests of training run on one thread."""

import torch

torch.set_num_threads(1)  # small tensors: more threads only wait for each other
