"""The S3 server of infra/local for tests, on a free port of loopback."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

BUCKET = "lake"
LOGIN = {"aws_access_key_id": "mine", "aws_secret_access_key": "s3-hunter2", "aws_region": "us-east-1"}


@contextmanager
def serve_moto() -> Iterator[dict[str, str]]:
    """Run a server with an empty bucket `lake` in a process of its own; yields the options of the object store."""
    words = [sys.executable, "-m", "infra.local.s3_server"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            signature = f"AWS4-HMAC-SHA256 Credential={LOGIN['aws_access_key_id']}/20240101/us-east-1/s3/aws4_request"
            httpx.put(f"{url}/{BUCKET}", headers={"Authorization": signature}, trust_env=False).raise_for_status()
            yield {**LOGIN, "endpoint_url": url, "allow_http": "true"}
        finally:
            server.kill()
