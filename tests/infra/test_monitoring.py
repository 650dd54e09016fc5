"""Rules, Prometheus' configuration and the dashboard: checked by promtool, and by the documents that they name."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra" / "monitoring"
RULES: dict[str, Any] = yaml.safe_load((FOLDER / "rules.yml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
RECORDED = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "fleetcast.json").read_text())


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed; apt install prometheus")
    return found


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True)


def test_rules_are_valid_and_a_broken_expression_is_refused(promtool, tmp_path):
    checked = run(promtool, "check", "rules", FOLDER / "rules.yml")
    assert checked.returncode == 0, checked.stderr
    broken = tmp_path / "rules.yml"
    broken.write_text((FOLDER / "rules.yml").read_text().replace("(max_over_time(", "(most_over_time("))
    assert 'unknown function with name "most_over_time"' in run(promtool, "check", "rules", broken).stderr


def test_rules_alert_as_their_unit_tests_say_and_another_threshold_fails_them(promtool, tmp_path):
    tested = run(promtool, "test", "rules", FOLDER / "rules.test.yml")
    assert tested.returncode == 0, tested.stdout
    shutil.copy(FOLDER / "rules.test.yml", tmp_path)
    (tmp_path / "rules.yml").write_text((FOLDER / "rules.yml").read_text().replace("> 0.95", "> 0.99"))
    assert "GPU 0 of 10.0.0.2" in run(promtool, "test", "rules", tmp_path / "rules.test.yml").stderr


def test_every_alert_has_a_unit_test():
    tested = {
        each["alertname"]
        for test in yaml.safe_load((FOLDER / "rules.test.yml").read_text())["tests"]
        for each in test["alert_rule_test"]
        if each["exp_alerts"]
    }
    assert tested == {alert["alert"] for alert in ALERTS}


def test_every_runbook_is_a_section_of_the_operations_document():
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "operations.md").read_text(), flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}
    for alert in ALERTS:
        path, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert path == "docs/operations.md"
        assert anchor in anchors, alert["alert"]


def test_configuration_of_prometheus_is_valid_and_a_misspelt_key_is_refused(promtool, tmp_path):
    check = (promtool, "check", "config", "--syntax-only")
    checked = run(*check, FOLDER / "prometheus.yml")
    assert checked.returncode == 0, checked.stderr
    broken = tmp_path / "prometheus.yml"
    broken.write_text((FOLDER / "prometheus.yml").read_text().replace("scrape_interval", "scrap_interval"))
    assert "scrap_interval not found" in run(*check, broken).stderr


def test_dashboard_has_valid_expressions_of_recorded_metrics_and_the_source_that_is_provisioned(promtool, tmp_path):
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert {name for each in expressions for name in re.findall(r"fleetcast:[\w:]+", each)} <= RECORDED
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(expressions)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    checked = run(promtool, "check", "rules", tmp_path / "panels.yml")
    assert checked.returncode == 0, checked.stderr
    provisioned = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text())
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {
        source["uid"] for source in provisioned["datasources"]
    }
