import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import airflow
import jsonschema
import pytest
from airflow.sdk.bases.hook import BaseHook

from tests.metadata import ROOT, write_metadata
from workers.airflow import cluster
from workers.airflow.hook import FleetcastRayHook
from workers.airflow.links import RayJobLink
from workers.airflow.operator import FleetcastJobOperator
from workers.airflow.provider import get_provider_info

(TYPE,) = get_provider_info()["connection-types"]


def test_entry_point_of_the_package_leads_to_a_description_that_airflow_accepts() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ((name, path),) = project["entry-points"]["apache_airflow_provider"].items()
    described = EntryPoint(name, path, "apache_airflow_provider").load()()
    assert described["package-name"] == project["name"]
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(described, schema)
    forms = json.loads((Path(airflow.__file__).parent / "provider.yaml.schema.json").read_text())
    jsonschema.validate(described["connection-types"], forms["properties"]["connection-types"])


def test_connection_type_is_that_of_the_hook_and_its_form_has_every_field_that_is_read() -> None:
    assert TYPE["connection-type"] == FleetcastRayHook.conn_type == cluster.CONNECTION_TYPE
    assert TYPE["hook-class-name"] == f"{FleetcastRayHook.__module__}.{FleetcastRayHook.__qualname__}"
    assert TYPE["hook-name"] == FleetcastRayHook.hook_name
    assert tuple(TYPE["conn-fields"]) == cluster.EXTRAS
    assert issubclass(FleetcastRayHook, BaseHook)


def test_link_of_the_operator_is_registered() -> None:
    (path,) = get_provider_info()["extra-links"]
    (link,) = FleetcastJobOperator.operator_extra_links
    assert path == f"{RayJobLink.__module__}.{RayJobLink.__qualname__}"
    assert isinstance(link, RayJobLink)


@pytest.mark.airflow
def test_airflow_lists_the_provider_its_connection_type_and_its_link(tmp_path: Path) -> None:
    path = os.pathsep.join([str(write_metadata(tmp_path / "site")), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "AIRFLOW_HOME": str(tmp_path)}
    program = """
import json
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
provider = manager.providers["fleetcast"]
form = [info.field_name for info in manager._connection_form_widgets_from_metadata.values()
        if info.package_name == "fleetcast"]
hook = manager.hooks["fleetcast_ray"]
print(json.dumps([provider.version, form, hook.hook_name, hook.connection_testable, manager.extra_links_class_names]))
"""
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=200
    )
    version, form, name, is_testable, links = json.loads(found.stdout.splitlines()[-1])
    assert version == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert tuple(form) == cluster.EXTRAS
    assert (name, is_testable) == ("Fleetcast (Ray)", True)
    assert "workers.airflow.links.RayJobLink" in links
