"""Moto's S3 server on loopback, which honours conditional puts; `python -m tests.moto_server` prints its URL."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "lake"
LOGIN = {"aws_access_key_id": "mine", "aws_secret_access_key": "s3-hunter2", "aws_region": "us-east-1"}


@contextmanager
def serve_moto() -> Iterator[dict[str, str]]:
    """Run a server with an empty bucket `lake` in a process of its own; yields the options of the object store."""
    words = [sys.executable, "-m", "tests.moto_server"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            signature = f"AWS4-HMAC-SHA256 Credential={LOGIN['aws_access_key_id']}/20240101/us-east-1/s3/aws4_request"
            httpx.put(f"{url}/{BUCKET}", headers={"Authorization": signature}, trust_env=False).raise_for_status()
            yield {**LOGIN, "endpoint_url": url, "allow_http": "true"}
        finally:
            server.kill()


def main() -> None:
    """Serve until the process is ended."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # Moto checks If-None-Match and writes in two steps. One request at a time makes that atomic, as in S3.
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
