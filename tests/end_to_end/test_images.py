"""The images as a registry gets them: built from the checkout, and run for a train and a forecast."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from forecasting.store.query import query
from forecasting.store.tables import Store
from infra.images.build import BASE, IMAGES, Built, build, make_base
from infra.images.buildah import Buildah
from infra.images.pip_configuration import translate
from tests.end_to_end.test_airflow_standalone import HORIZON, SERIES

pytestmark = [pytest.mark.images, pytest.mark.timeout(1800)]
ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "ip": "iproute2", "unshare": "util-linux"}
"""Programs and their packages."""
OWN_NETWORK = ["unshare", "--net", "--"]
OWN_MOUNTS = ["unshare", "--mount", "--"]
BASE_IMAGE = f"localhost/{BASE}"


class Images(NamedTuple):
    """The images that were built: Buildah's store, the context, and the folder of bills and logs."""

    buildah: Buildah
    context: Path
    into: Path
    built: dict[str, Built]


def lay_context(folder: Path) -> None:
    """Copy what images are built from."""
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            source, target = ROOT / line[1:], folder / line[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            else:
                shutil.copy2(source, target)
    shutil.copytree(ROOT / "infra" / "images", folder / "infra" / "images", dirs_exist_ok=True)
    shutil.copy2(ROOT / ".dockerignore", folder)


@pytest.fixture(scope="module")
def images() -> Iterator[Images]:
    if missing := [package for program, package in PROGRAMS.items() if shutil.which(program) is None]:
        pytest.skip(f"images are built and run with programs that are not installed; apt install {' '.join(missing)}")
    for what, command in (
        ("networks", [*OWN_NETWORK, "true"]),
        ("mounts", [*OWN_MOUNTS, "mount", "-t", "tmpfs", "none", "/mnt"]),
    ):
        refused = subprocess.run(command, capture_output=True, text=True)
        if refused.returncode:
            pytest.skip(f"this machine refuses {what} of their own to images: {refused.stderr.strip()}")
    folder = Path(tempfile.mkdtemp(prefix="fleetcast-images-"))
    buildah, context, into = Buildah(folder / "storage"), folder / "context", folder / "into"
    try:
        lay_context(context)
        print(f"\nbase: {make_base(buildah):.0f} s")
        built = {}
        for image in IMAGES:
            built[image] = build(buildah, image, base=BASE_IMAGE, into=into, context=context)
            print(built[image])
        yield Images(buildah, context, into, built)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # a container may still be mounted


def normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def distributions(bill: Path) -> dict[str, str]:
    """Versions of Python's distributions by name, without the local part of a version such as `2.13.0+cpu`."""
    listed = [each for each in json.loads(bill.read_text())["components"] if "purl" in each]
    python = [each for each in listed if each["purl"].startswith("pkg:pypi/")]
    return {normal(each["name"]): each["version"].partition("+")[0] for each in python}


def test_bills_of_materials_have_the_pinned_versions_and_airflow_has_nothing_heavy(images: Images) -> None:
    lines = (line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines()[1:])
    pinned = {normal(name): version for name, _, version in lines}
    has = {
        "worker": {"torch", "ray", "polars", "deltalake", "duckdb", "pytorch-lightning", "statsforecast"},
        "airflow": {"apache-airflow", "psycopg2-binary", "statsd"},
    }
    for image, built in images.built.items():
        found = distributions(built.bill)
        assert has[image] <= set(found)
        # The virtual environment brings these two.
        released = {name: found[name] for name in set(found) - {"pip", "setuptools"}}
        assert {name: version for name, version in released.items() if pinned.get(name) != version} == {}
        listed = json.loads(built.bill.read_text())["components"]
        debian = {each["name"] for each in listed if each.get("purl", "").startswith("pkg:deb/")}
        assert {"libc6", "python3.11"} <= debian
    heavy = {"torch", "ray", "polars", "numpy", "pytorch-lightning", "deltalake", "pyarrow"}
    assert heavy & set(distributions(images.built["airflow"].bill)) == set()


def test_a_changed_line_builds_the_last_layer_alone(images: Images) -> None:
    def layers(image: str) -> list[str]:
        return list(images.buildah.inspect(IMAGES[image])["OCIv1"]["rootfs"]["diff_ids"])

    before = {image: layers(image) for image in IMAGES}
    changed = images.context / "workers" / "deletion.py"
    changed.write_text(changed.read_text() + "\nADDED = True\n")
    for image in IMAGES:
        again = build(images.buildah, image, base=BASE_IMAGE, into=images.into, context=images.context)
        print(f"\na changed line: {again}")
        assert layers(image)[:-1] == before[image][:-1]
        assert layers(image)[-1] != before[image][-1]
        with images.buildah.container(IMAGES[image]) as container:
            assert container.run("python", "-c", "from workers.deletion import ADDED; print(ADDED)") == "True"


def test_images_have_nothing_of_the_configuration_of_pip(images: Images) -> None:
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    _, places = translate(listed.stdout)
    for image in IMAGES:
        with images.buildah.container(IMAGES[image]) as container:
            root = Path(images.buildah("mount", container.name))
            files = [path for folder in ("run/pip", "run/secrets") for path in (root / folder).rglob("*")]
            assert [path for path in files if path.is_file() and path.stat().st_size] == []
            assert not (root / "etc" / "pip.conf").exists()
            assert container.run("pip", "config", "list") == ""
        history = json.dumps(images.buildah.inspect(IMAGES[image]))
        assert [str(path) for path in places.values() if str(path) in history] == []


def test_a_train_and_a_forecast_pass_through_both_images_without_root(images: Images, tmp_path: Path) -> None:
    flow = [sys.executable, "-m", "tests.end_to_end.image_flow", str(images.buildah.storage), str(tmp_path)]
    environment, command = os.environ | {"PYTHONPATH": str(ROOT)}, [*OWN_NETWORK, *flow]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    logs = "".join(f"\n{log.name}:\n{log.read_text(errors='replace')[-3000:]}" for log in tmp_path.glob("*.log"))
    assert ended.returncode == 0, ended.stdout + ended.stderr + logs
    report: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    print("\n" + ", ".join(f"{name}: {seconds:.0f} s" for name, seconds in report["seconds"].items()))
    assert report["states"]["depots__train"] == {"features": "success", "train": "success", "backtest": "success"}
    assert report["states"]["depots__forecast"]["predict"] == "success"
    assert len(report["users"]) > 10
    assert {user for users in report["users"] for user in users} == {1000}

    def ask(sql: str) -> pl.DataFrame:
        return query(Store(tmp_path / "data" / "store"), sql)

    latest = ask("SELECT unique_id, count(*) AS num FROM latest_forecasts GROUP BY ALL ORDER BY ALL")
    assert latest.rows() == [(name, HORIZON) for name in sorted(SERIES)]
    assert set(ask("SELECT status FROM models")["status"]) == {"trained"}
