"""Parts of rows, in memory or in files."""

from pathlib import Path

import polars as pl

from forecasting.series.parts import Parts


def test_parts_in_files_are_the_parts_in_memory(tmp_path: Path) -> None:
    frames = [pl.DataFrame({"unique_id": [name], "y": [1.0]}) for name in "ab"]
    for folder in (None, tmp_path):
        parts = Parts("rows", folder)
        for frame in frames:
            parts.append(frame)
        parts.append_lazy(frames[0].lazy().with_columns(y=pl.col("y") + 1))
        assert parts.scan().collect().rows() == [("a", 1.0), ("b", 1.0), ("a", 2.0)]
        assert parts.are_in_memory == (folder is None)
    assert len(list(tmp_path.iterdir())) == 2
