"""Makes the practice site importable for tests of the client."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
