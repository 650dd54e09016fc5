"""The command on an object store from the settings: a local server that answers like S3."""

import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import polars as pl
import pytest

Fleetcast = Callable[..., Any]

SPEC = """name = "remote"
freq = "1h"
season_lengths = [6]
horizon = 4
[source]
uri = "s3://bucket/sales.parquet"
"""


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files are the objects of s3://bucket, for a client with these settings."""
    root = tmp_path / "bucket"
    root.mkdir()

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET(with_body=False)

        def do_GET(self, *, with_body: bool = True) -> None:
            file = root.parent / self.path.split("?")[0].lstrip("/")
            if not self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential=mine/"):
                self.send_error(403)
                return
            if not file.is_file():
                self.send_error(404)
                return
            whole = file.read_bytes()
            asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            first, last = 0, len(whole) - 1
            if asked:
                first = int(asked[1]) if asked[1] else max(0, len(whole) - int(asked[2]))
                last = min(last, int(asked[2])) if asked[1] and asked[2] else last
            part = whole[first : last + 1]
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(whole)}")
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
            self.end_headers()
            if with_body:
                self.wfile.write(part)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        options = {"endpoint_url": f"http://127.0.0.1:{server.server_port}", "allow_http": "true"}
        options |= {"aws_access_key_id": "mine", "aws_secret_access_key": "x", "aws_region": "x"}
        monkeypatch.setenv("FLEETCAST_STORAGE_OPTIONS", json.dumps(options))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield root
        server.shutdown()


def test_source_and_actuals_in_an_object_store_are_read_with_the_storage_options(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str], bucket: Path
) -> None:
    known, actuals = "s3://bucket/sales.parquet", "s3://bucket/later.parquet"
    rows = hourly("b", "a")
    last = rows["ds"].max()
    rows.filter(pl.col("ds") < last).write_parquet(bucket / "sales.parquet")
    rows.write_parquet(bucket / "later.parquet")
    ended = fleetcast("forecast", known, "--freq", "1h", *quick, "--evaluate", actuals, "--out", "out.parquet")
    assert ended.exit_code == 0, ended.err
    assert pl.read_parquet("out.parquet")["ds"].min() == last
    assert "forecast points without an actual: 6 of 8" in ended.err
    drawn = fleetcast("plot", "a", "--forecasts", "out.parquet", "--actuals", actuals, "--out", "fan.png")
    assert drawn.exit_code == 0, drawn.err


def test_specs_with_sources_in_an_object_store_are_checked_with_the_storage_options(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], bucket: Path
) -> None:
    Path("remote.toml").write_text(SPEC)
    missing = fleetcast("specs", "check", "remote.toml")
    assert missing.exit_code != 0
    assert "s3://bucket/sales.parquet" in missing.err
    hourly().write_parquet(bucket / "sales.parquet")
    assert fleetcast("specs", "check", "remote.toml").out == "ok: remote.toml (remote)\n"
