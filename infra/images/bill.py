"""The software bill of materials of an image, in CycloneDX: what pip and Debian report as installed in it."""

import json
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from forecasting.errors import ServiceError

if TYPE_CHECKING:
    from infra.images.buildah import Buildah

_VERSION = SchemaVersion.V1_6
_MOUNTED = "/mnt"
_LIST_DISTRIBUTIONS = f"""
import runpy, sys
sys.path.append({_MOUNTED!r})
sys.argv = ["cyclonedx_py", "environment", "--no-validate", "--spec-version", {_VERSION.to_version()!r}, sys.executable]
runpy.run_module("cyclonedx_py", run_name="__main__")
"""
"""Run by an image's own Python, which asks for its own path; the generator comes from this environment."""


def write_bill(buildah: "Buildah", image: str, path: Path) -> None:
    """Write the bill of materials of an image.

    Args:
        buildah: Where the image is.
        image: Its name.
        path: File to be written, JSON of CycloneDX 1.6.

    Raises:
        ServiceError: The bill does not conform to CycloneDX's schema.
    """
    with buildah.container(image) as container:
        site = f"{sysconfig.get_path('purelib')}:{_MOUNTED}:ro"
        python = container.run("python", "-c", _LIST_DISTRIBUTIONS, volumes=[site])
        debian = container.run("dpkg-query", "--show", "--showformat", r"${Package} ${Version} ${Architecture}\n")
    bill = make_bill(image, python, debian)
    if problem := JsonStrictValidator(_VERSION).validate_str(bill):
        raise ServiceError(f"the bill of materials of image '{image}' does not conform to CycloneDX: {problem}")
    path.write_text(bill, encoding="utf-8")


def make_bill(image: str, python: str, debian: str) -> str:
    """Join the distributions of Python and the packages of Debian.

    Args:
        image: Name of the image, of which all of them are components.
        python: A bill of the distributions, JSON of CycloneDX.
        debian: One package a line: its name, version and architecture.

    Returns:
        The bill, as JSON.
    """
    bill: Bom = Bom.from_json(json.loads(python))  # type: ignore[attr-defined]
    for line in debian.splitlines():
        name, version, architecture = line.split()
        url = PackageURL("deb", "debian", name, version, {"arch": architecture})
        bill.components.add(
            Component(type=ComponentType.LIBRARY, name=name, version=version, purl=url, bom_ref=str(url))
        )
    root = bill.metadata.component = Component(type=ComponentType.CONTAINER, name=image, bom_ref=image)
    bill.register_dependency(root, bill.components)
    return make_outputter(bill, OutputFormat.JSON, _VERSION).output_as_string(indent=2)
