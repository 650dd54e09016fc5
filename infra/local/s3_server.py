"""Moto's S3 server on loopback, which honours conditional puts and keeps its objects in memory.

python -m infra.local.s3_server [PORT]    serves until it is ended, and prints its URL
"""

import logging
import sys

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


def main() -> None:
    """Serve until the process is ended."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    # Moto checks If-None-Match and writes in two steps. One request at a time makes that atomic, as in S3.
    server = make_server("127.0.0.1", port, DomainDispatcherApplication(create_backend_app), threaded=False)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
