"""`ray start` for one of several nodes on 127.0.0.1.

Ray replaces 127.0.0.1 by the address of the network card, and opens its servers on all addresses, unless its setting
RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER is 0. With that setting, `ray start` refuses a second node. This lets it start one.
It also waits longer than Ray's half minute for a node to register, as on a busy machine, and starts no server for
clients of `ray://`, which nothing here uses.
"""

import sys
import time
from typing import Any

from ray._private import node, ray_constants, services
from ray.scripts.scripts import main

PATIENCE = 180.0


def start() -> None:
    """Run `ray` with the arguments of this process."""
    if "--head" not in sys.argv:
        ray_constants.ENABLE_RAY_CLUSTER = True
    services.resolve_ip_for_localhost = lambda host: host
    services.get_node = _wait_for_node
    node.Node.start_ray_client_server = lambda self: None
    main()


def _wait_for_node(*arguments: Any, find: Any = services.get_node) -> Any:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return find(*arguments)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    start()
