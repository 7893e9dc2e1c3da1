"""An intake in a process of its own, to be killed: ``python slow_ingest.py SOURCE HOME SECONDS``."""

import sys
import time
from pathlib import Path

from practice_intake import take_in

if __name__ == "__main__":
    source, home, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])

    def advance(done: int, total: int) -> None:
        sys.stdout.write(f"{done}\n")
        sys.stdout.flush()
        time.sleep(pause)

    take_in(source, home, progress=advance)
