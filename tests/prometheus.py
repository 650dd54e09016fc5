"""What the metrics agents of a Ray cluster export, as Prometheus would read it."""

import json
from collections import defaultdict
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[str, list[tuple[dict[str, str], float]]]


def scrape(discovery: Path) -> Samples:
    """Return labels and values by metric, from all nodes that Ray's service discovery file lists."""
    found: Samples = defaultdict(list)
    for group in json.loads(discovery.read_text()):
        for target in group["targets"]:
            if target.endswith(":0"):  # servers of this head that have no fixed port
                continue
            text = httpx.get(f"http://{target}/metrics", timeout=60, trust_env=False).raise_for_status().text
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    found[sample.name].append((dict(sample.labels), sample.value))
    return found


def newest(found: Samples, name: str, **labels: str) -> float:
    """Return the largest value of a metric among the series that have the labels."""
    return max(value for own, value in found[f"ray_fleetcast_{name}"] if own.items() >= labels.items())
