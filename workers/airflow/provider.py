"""What Airflow reads about this package as a provider: a connection type with its form, a hook and a link.

It imports nothing. Airflow reads it in each of its processes, through the entry point `apache_airflow_provider`.
"""

from typing import Any

NAME = "Fleetcast"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, in the schema of Airflow's `provider_info.schema.json`."""
    return {
        "package-name": "fleetcast",
        "name": NAME,
        "description": "Trains and forecasts fleets of time series with jobs on a Ray cluster.",
        "integrations": [{"integration-name": NAME, "tags": ["software"]}],
        "operators": [{"integration-name": NAME, "python-modules": ["workers.airflow.operator"]}],
        "hooks": [{"integration-name": NAME, "python-modules": ["workers.airflow.hook"]}],
        "triggers": [{"integration-name": NAME, "python-modules": ["workers.airflow.trigger"]}],
        "connection-types": [
            {
                "connection-type": "fleetcast_ray",
                "hook-class-name": "workers.airflow.hook.FleetcastRayHook",
                "hook-name": "Fleetcast (Ray)",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login", "extra"],
                    "relabeling": {"host": "URL", "password": "Token"},
                    "placeholders": {
                        "host": "https://ray.example.org",
                        "port": "8265",
                        "password": "Bearer token of Ray's Jobs API",
                    },
                },
                "conn-fields": {
                    "verify": {
                        "label": "Verify TLS",
                        "description": "Whether the certificate of an https:// URL is verified.",
                        "schema": {"type": ["boolean", "null"], "default": True},
                    },
                    "dashboard_url": {
                        "label": "Dashboard",
                        "description": "URL of Ray's dashboard in a browser, where it is not that of the Jobs API.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "store_connection": {
                        "label": "Storage options",
                        "description": "Name of the connection that has the keys of the tables' object store. Jobs "
                        "carry the name; the cluster's nodes have the connection in their environment or in mounted "
                        "files. Empty: FLEETCAST_STORAGE_OPTIONS of the nodes.",
                        "schema": {"type": ["string", "null"]},
                    },
                },
            }
        ],
        "extra-links": ["workers.airflow.links.RayJobLink"],
    }
