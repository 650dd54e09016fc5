"""`ray start` that waits longer than Ray's half minute for its node to register, as it may take on a busy machine.

Run by its path, so that it also works where this package is not installed.
"""

import time
from typing import Any

from ray._private import services
from ray.scripts.scripts import main

PATIENCE = 150.0


def wait_longer() -> None:
    """Make Ray of this process wait for up to `PATIENCE` seconds."""
    find = services.get_node

    def find_patiently(*arguments: Any) -> Any:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return find(*arguments)
            except RuntimeError:  # not registered yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    services.get_node = find_patiently


if __name__ == "__main__":
    wait_longer()
    main()
