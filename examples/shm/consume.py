"""The other program: joins by its name, looks at each picture without a copy, and answers.

python examples/shm/consume.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ringline.shm import has_host, join


def main() -> None:
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("/dev/shm/ringline-example")
    with join(directory, "viewer", timeout_s=60) as arena:
        reader, writer = arena.reader("pictures"), arena.writer(["answers"])
        while not reader.ended:
            lease = reader.next()
            if lease is None:
                if not arena.wait(1.0) and not has_host(directory):
                    sys.exit(f"the host of {directory} has gone")
                continue
            picture = np.frombuffer(memoryview(lease), np.uint8).reshape(480, 640, 3)
            text = f"{lease.meta.decode()}: {lease.nbytes} bytes, mean {picture.mean():.1f}"
            writer.send(text.encode(), 0, b"", lease.timestamp)
            del picture  # the last view of the block; release() alone would keep it until then
            lease.release()
        writer.end()


if __name__ == "__main__":
    main()
