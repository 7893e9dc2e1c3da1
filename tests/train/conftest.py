"""Makes the practice patients importable for tests of training."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)  # small tensors: more threads only wait for each other
