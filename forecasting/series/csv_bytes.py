"""The bytes and the text of a CSV file: on a local disk or in an object store, compressed with gzip or not."""

import codecs
import gzip
import io
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import BinaryIO, cast

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.places import is_remote
from forecasting.spec.dialect import CsvDialect

BLOCK_BYTES = 2 << 20
_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"PK\x03\x04": "a zip archive, as workbooks of Excel are",
    b"\xd0\xcf\x11\xe0": "a workbook of an old Excel",
    b"PAR1": "a parquet file",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"BZh91AY&SY": "compressed with bzip2",
}
"""The first bytes of files of other kinds."""
_LONGEST = max(map(len, (_GZIP, *_OTHERS)))
_MARK = "\ufeff"
"""The byte order mark, which decoders leave out at most once."""
_NOT_IN_TEXT = "\x1f"
"""A separator that a CSV file does not have, so that Polars returns whole lines; a file that has it is refused."""


def open_bytes(uri: str) -> BinaryIO:
    """Open a local file; bytes that were compressed with gzip are decompressed, regardless of the suffix.

    Args:
        uri: The path.

    Returns:
        A stream.

    Raises:
        SourceError: The file begins as one of another kind does, such as a workbook of Excel.
    """
    with open(uri, "rb") as file:
        begin = file.read(_LONGEST)
    for other, kind in _OTHERS.items():
        if begin.startswith(other):
            raise SourceError(
                f"{uri} is {kind}, not a CSV file; export or unpack it, or give it the suffix of its kind"
            )
    is_compressed = begin.startswith(_GZIP)
    return cast(BinaryIO, gzip.open(uri, "rb")) if is_compressed else open(uri, "rb")


def starts_with_utf_16(uri: str) -> bool:
    """Return whether a local file begins with the byte order mark of UTF-16, in which Windows writes 'Unicode'."""
    if is_remote(uri):
        return False
    with open_bytes(uri) as file:
        return file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_blocks(uri: str, options: Mapping[str, str]) -> Generator[bytes, None, None]:
    """Read a file in blocks.

    Args:
        uri: A path, or the URI of an object in a store, whose lines all end in a line feed here.
        options: Options of the object store, as Polars takes them.

    Yields:
        Bytes; those of a remote file are UTF-8, where bytes that were not have become U+FFFD.
    """
    if is_remote(uri):
        for lines in _remote_lines(uri, options):
            yield ("\n".join(lines) + "\n").encode()
        return
    with open_bytes(uri) as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def read_lines(uri: str, options: Mapping[str, str], dialect: CsvDialect) -> Generator[str, None, None]:
    """Read a file's lines with their ends: CRLF, LF or CR. Byte order marks are left out, also within joined files.

    Args:
        uri: A path, or the URI of an object in a store, which is UTF-8.
        options: Options of the object store, as Polars takes them.
        dialect: The dialect, for its encoding.

    Yields:
        Lines. Bytes that are not UTF-8 become U+FFFD.

    Raises:
        UnicodeError: Bytes are not text in another encoding than UTF-8.
        SourceError: A remote file has another encoding than UTF-8.
    """
    encoding = dialect.encoding
    if is_remote(uri) and not dialect.is_utf_8:
        raise SourceError(
            f"{uri} is remote, and remote CSV files must be UTF-8, not {encoding}; --csv-encoding (source.csv.encoding)"
            " needs a local file"
        )
    if is_remote(uri):
        for lines in _remote_lines(uri, options):
            yield from _without_marks(io.StringIO("\n".join(lines) + "\n", newline=""))
        return
    if dialect.is_utf_8:
        encoding, errors = "utf-8-sig", "replace"
    else:
        errors = "strict"
    with io.TextIOWrapper(open_bytes(uri), encoding=encoding, errors=errors, newline="") as file:
        yield from _without_marks(file)


def _without_marks(lines: Iterable[str]) -> Iterator[str]:
    return (line.lstrip(_MARK) if line.startswith(_MARK) else line for line in lines)


def _remote_lines(uri: str, options: Mapping[str, str]) -> Iterator[list[str]]:
    lines = pl.scan_csv(
        uri,
        has_header=False,
        new_columns=["line"],
        infer_schema=False,
        separator=_NOT_IN_TEXT,
        quote_char=None,
        encoding="utf8-lossy",
        glob=False,
        storage_options=dict(options),
    )
    for batch in lines.collect_batches(maintain_order=True):
        yield batch["line"].fill_null("").to_list()
