"""A server that answers like S3: the files of a folder are the objects of buckets."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

KEY, SECRET = "mine", "s3-hunter2"


@contextmanager
def serve_buckets(root: Path) -> Iterator[str]:
    """Serve the folders below `root` as buckets to clients that sign with KEY; yields the URL of the server."""
    writing = Lock()  # no other writer between a condition and its put

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET(with_body=False)

        def do_GET(self, *, with_body: bool = True) -> None:
            if not self._is_signed():
                return
            url = urlsplit(self.path)
            bucket, _, key = unquote(url.path).strip("/").partition("/")
            asked = parse_qs(url.query)
            if "list-type" in asked:
                listed = _list(
                    root / bucket,
                    asked.get("prefix", [""])[0],
                    asked.get("delimiter", [""])[0],
                    asked.get("start-after", [""])[0],
                )
                self._send(200, listed.encode(), with_body=with_body)
                return
            file = root / bucket / key
            if not file.is_file():
                self.send_error(404)
                return
            whole = file.read_bytes()
            part = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            first, last = 0, len(whole) - 1
            if part:
                first = int(part[1]) if part[1] else max(0, len(whole) - int(part[2]))
                last = min(last, int(part[2])) if part[1] and part[2] else last
            self._send(
                206 if part else 200, whole[first : last + 1], f"bytes {first}-{last}/{len(whole)}", with_body=with_body
            )

        def do_PUT(self) -> None:
            """Write an object, or a part of one."""
            content = self._read_body()
            if not self._is_signed():
                return
            url = urlsplit(self.path)
            file = root / unquote(url.path).strip("/")
            asked = parse_qs(url.query)
            if "partNumber" in asked:
                file = file.with_name(f"{file.name}.part{asked['partNumber'][0]}")
            with writing:
                if self.headers.get("If-None-Match") == "*" and file.exists():
                    self.send_error(412)
                    return
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            self._send(200, b"")

        def do_POST(self) -> None:
            """Begin to write an object in parts, or put its parts together."""
            self._read_body()
            if not self._is_signed():
                return
            url = urlsplit(self.path)
            file = root / unquote(url.path).strip("/")
            if "uploadId" not in parse_qs(url.query):
                self._send(
                    200, b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
                )
                return
            parts = sorted(file.parent.glob(f"{file.name}.part*"), key=lambda part: int(part.suffix[5:]))
            file.write_bytes(b"".join(part.read_bytes() for part in parts))
            for part in parts:
                part.unlink()
            self._send(200, b'<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>')

        def _is_signed(self) -> bool:
            if self.headers.get("Authorization", "").startswith(f"AWS4-HMAC-SHA256 Credential={KEY}/"):
                return True
            self.send_error(403)
            return False

        def _read_body(self) -> bytes:
            """Read what a client sends, without the signatures between chunks."""
            sent = self._read_chunks() if "chunked" in self.headers.get("Transfer-Encoding", "") else b""
            sent += self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
                return sent
            content = b""
            while sent:
                size, _, sent = sent.partition(b"\r\n")
                length = int(size.partition(b";")[0], 16)
                content, sent = content + sent[:length], sent[length + 2 :] if length else b""
            return content

        def _read_chunks(self) -> bytes:
            content = b""
            while length := int(self.rfile.readline().partition(b";")[0], 16):
                content += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
            return content

        def _send(self, status: int, body: bytes, content_range: str = "", *, with_body: bool = True) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if content_range:
                self.send_header("Content-Range", content_range)
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _list(bucket: Path, prefix: str, delimiter: str, after: str) -> str:
    """Answer ListObjectsV2 in one page."""
    keys = sorted(path.relative_to(bucket).as_posix() for path in bucket.rglob("*") if path.is_file())
    found, folders = [], set()
    for key in keys:
        if not key.startswith(prefix) or key <= after:
            continue
        head, sign, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        if sign:
            folders.add(prefix + head + delimiter)
        else:
            found.append(key)
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
        f'<ETag>"1"</ETag><Size>{(bucket / key).stat().st_size}</Size></Contents>'
        for key in found
    )
    prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders))
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
        f"<IsTruncated>false</IsTruncated><KeyCount>{len(found)}</KeyCount>{contents}{prefixes}</ListBucketResult>"
    )
