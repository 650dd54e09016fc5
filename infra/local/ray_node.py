"""`ray start` for one of several nodes on 127.0.0.1.

Ray replaces 127.0.0.1 by the address of the network card, and opens its servers on all addresses, unless its setting
RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER is 0. With that setting, `ray start` refuses a second node. This lets it start one.
It also waits longer than Ray for a node to register (`workers.cluster.ray_start`), and starts no server for clients of
`ray://`, which nothing here uses.
"""

import sys

from ray._private import node, ray_constants, services
from ray.scripts.scripts import main

from workers.cluster.ray_start import wait_longer


def start() -> None:
    """Run `ray` with the arguments of this process."""
    if "--head" not in sys.argv:
        ray_constants.ENABLE_RAY_CLUSTER = True
    services.resolve_ip_for_localhost = lambda host: host
    wait_longer()
    node.Node.start_ray_client_server = lambda self: None
    main()


if __name__ == "__main__":
    start()
