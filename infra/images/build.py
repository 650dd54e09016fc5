"""Build the CPU images of this folder, each with a software bill of materials beside it.

    python -m infra.images.build [worker] [airflow] [--base IMAGE] [--torch-index URL] [--into build/images]

Needs root and Buildah, and mmdebstrap unless a base image is given: it makes one of Debian's packages, as
`fleetcast-base`. pip installs as it is configured on this machine, and the images have nothing of that configuration.
"""

import os
import shutil
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, STDOUT, run
from tempfile import TemporaryDirectory

from forecasting.errors import ServiceError, UserError
from infra.images.bill import write_bill
from infra.images.buildah import Buildah
from infra.images.pip_configuration import pip_options
from workers.commands import exit_code_of

ROOT = Path(__file__).resolve().parents[2]
IMAGES = {"worker": "fleetcast-worker:cpu", "airflow": "fleetcast-airflow:latest"}
"""The images and their tags."""
BASE = "fleetcast-base:latest"
_SUITE = "bookworm"
_PACKAGES = "ca-certificates,python3,python3-venv"
# As in Debian's own images: dpkg does not wait for the disk, and documents other than licences are left out.
_DPKG = (
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
)


@dataclass(frozen=True)
class Built:
    """An image that was built.

    Attributes:
        tag: Its name and tag.
        size: Size of its layers, as text.
        seconds: Seconds of the build, without the bill.
        bill: Its software bill of materials.
    """

    tag: str
    size: str
    seconds: float
    bill: Path

    def __str__(self) -> str:
        """Return one line for a person."""
        return f"{self.tag}: {self.size}, built in {self.seconds:.0f} s; contents: {self.bill}"


def make_base(buildah: Buildah) -> float:
    """Make a base image of Debian 12 with Python 3.11 and its `venv`.

    Args:
        buildah: Where it is stored.

    Returns:
        Seconds that it took.

    Raises:
        ServiceError: mmdebstrap failed.
    """
    begin = time.monotonic()
    with TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        command = ["mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}"]
        command += [f"--dpkgopt={option}" for option in _DPKG]
        done = run([*command, _SUITE, str(archive)], stdout=PIPE, stderr=STDOUT, text=True, check=False)
        if done.returncode:
            raise ServiceError(f"mmdebstrap failed with exit code {done.returncode}:\n{done.stdout[-2000:]}")
        container = buildah("from", "scratch")
        buildah("add", container, str(archive), "/")
        buildah("config", "--cmd", "/bin/sh", container)
        buildah("commit", "--rm", container, BASE)
    return time.monotonic() - begin


def build(
    buildah: Buildah, image: str, *, base: str, into: Path, context: Path = ROOT, torch_index: str | None = None
) -> Built:
    """Build an image and write its bill of materials.

    Args:
        buildah: Where it is stored. Layers of earlier builds are used again.
        image: Its name among `IMAGES`.
        base: The base image.
        into: Folder of the build's log and of the bill.
        context: Root of the checkout.
        torch_index: Package index of torch's CPU build; None where pip is configured to find it.

    Returns:
        The image.

    Raises:
        ServiceError: The build failed.
    """
    into.mkdir(parents=True, exist_ok=True)
    begin, tag, file = time.monotonic(), IMAGES[image], context / "infra" / "images" / f"{image}.Dockerfile"
    given = ["--build-arg", f"BASE={base}"]
    if torch_index and image == "worker":
        given += ["--build-arg", f"TORCH_INDEX={torch_index}"]
    with pip_options() as options:
        # Docker's format of images keeps the health check.
        options = ["--layers", "--format", "docker", *given, *options, "--tag", tag, "--file", str(file)]
        buildah("bud", *options, str(context), log=into / f"{image}.log")
    seconds = time.monotonic() - begin
    bill = into / f"{image}.cdx.json"
    write_bill(buildah, tag, bill)
    size = buildah.size_of(tag)
    assert size is not None, f"there is no image {tag} after its build"
    return Built(tag, size, seconds, bill)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build images as the arguments ask for; return the exit code."""
    parser = ArgumentParser(prog="python -m infra.images.build", description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"images, of {', '.join(IMAGES)}; default: all")
    parser.add_argument("--base", help="base image: Debian with Python 3.11 and its venv; default: one made here")
    parser.add_argument("--torch-index", help="package index of torch's CPU build")
    parser.add_argument("--into", type=Path, default=ROOT / "build" / "images", help="folder of bills and logs")
    options = parser.parse_args(arguments)
    return exit_code_of(lambda: _build(options.images or list(IMAGES), options.base, options.torch_index, options.into))


def _build(images: list[str], base: str | None, torch_index: str | None, into: Path) -> None:
    if unknown := sorted(set(images) - set(IMAGES)):
        raise UserError(f"there is no image '{unknown[0]}'; there are {', '.join(IMAGES)}")
    needed = ["buildah"] if base else ["buildah", "mmdebstrap"]
    if missing := [program for program in needed if shutil.which(program) is None]:
        raise UserError(f"images need {' and '.join(missing)}; on Debian: apt install {' '.join(missing)}")
    if os.geteuid():
        raise UserError(f"images are built by root, and this is the user {os.geteuid()}")
    buildah = Buildah()
    if base is None and buildah.size_of(BASE) is None:
        print(f"{BASE}: made in {make_base(buildah):.0f} s", flush=True)
    for image in images:
        built = build(buildah, image, base=base or f"localhost/{BASE}", into=into, torch_index=torch_index)
        print(built, flush=True)


if __name__ == "__main__":
    sys.exit(main())
