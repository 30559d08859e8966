"""The dashboard for Grafana and the alerts for Prometheus in packaging/: every name in them is one of ours, and what they say is valid."""
import json
import os
import re
import subprocess

import pytest

from lib.admin import promtool
from lib.peers import ask, gets_reset
from lib.ports import free_port
from lib.proxy import ROOT
from lib.waiting import wait_for

GRAFANA = os.path.join(ROOT, "packaging/grafana")
RULES = os.path.join(ROOT, "packaging/prometheus/tcpproxy.rules.yml")


@pytest.fixture(scope="module")
def dashboard():
    with open(os.path.join(GRAFANA, "tcpproxy.json")) as f:
        return json.load(f)


def expressions(dashboard):
    return [t["expr"] for p in dashboard["panels"] for t in p.get("targets", [])]


def names(text):
    return set(re.findall(r"\btcpproxy_\w+", text))


def test_the_names_exist(start, service, admin, dashboard):
    good, bad, shut = free_port(), free_port(), free_port()
    start(config=f"{admin.line}port {good}\nserver {service().spelt}\ncheck tcp\nport {bad}\nserver 127.0.0.1:{free_port()}\n"
                 f"port {shut}\nserver {service().spelt}\ndeny all\n")
    ask(good, b"x")
    gets_reset(bad)
    gets_reset(shut)
    wait_for(lambda: 'reason="connect-failed"' in admin.ask("metrics"), "an end that was counted")
    wait_for(lambda: 'why="deny"' in admin.ask("metrics"), "a reason that was counted")
    wait_for(lambda: "\ntcpproxy_backend_check_duration_seconds{" in admin.ask("metrics"), "a check")
    there = set(re.findall(r"^\w+", admin.ask("metrics"), re.M))
    with open(RULES) as f:
        alerts = names("\n".join(line for line in f if "expr:" in line))
    used = set().union(alerts, *map(names, expressions(dashboard)), *(names(v.get("definition", "")) for v in
                                                                      dashboard["templating"]["list"]))
    assert len(used) > 20 and len(alerts) >= 6 and used <= there, used - there
    labels = set(re.findall(r"(\w+)=\"", admin.ask("metrics")))
    assert set(re.findall(r"{{(\w+)}}", json.dumps(dashboard))) <= labels | {"instance"}


def test_every_panel_has_a_place_of_its_own(dashboard):
    taken = {}
    for p in dashboard["panels"]:
        at = p["gridPos"]
        assert at["x"] + at["w"] <= 24
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            assert taken.setdefault(cell, p["title"]) == p["title"], (cell, p["title"])
    assert len({p["id"] for p in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.mark.skipif(not promtool(), reason="no promtool")
def test_prometheus_understands_the_expressions(dashboard, tmp_path):
    rules = [{"record": f"r{i}", "expr": e.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$service", ".*")}
             for i, e in enumerate(expressions(dashboard))]
    path = tmp_path / "rules.json"  # YAML is more than JSON
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([promtool(), "check", "rules", "--lint=none", path], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0 and f"{len(rules)} rules found" in done.stdout, done


@pytest.mark.skipif(not promtool(), reason="no promtool")
def test_prometheus_understands_its_example():
    done = subprocess.run([promtool(), "check", "config", "--lint=none", os.path.join(GRAFANA, "prometheus.yml")],
                          capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done


@pytest.mark.skipif(not promtool(), reason="no promtool")
def test_prometheus_understands_the_alerts():
    done = subprocess.run([promtool(), "check", "rules", RULES], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0 and "7 rules found" in done.stdout, done


SERVER = 'tcpproxy_backend_state{server="db1:5432",state="down"}'
USABLE = 'tcpproxy_service_servers_usable{service="5432"}'


@pytest.mark.skipif(not promtool(), reason="no promtool")
@pytest.mark.parametrize("series, values, at, alert, fires", [
    (SERVER, "0 1 1 1 1 1", "30s", "TcpproxyServerDown", False),
    (SERVER, "0 1 1 1 1 1 1 1", "80s", "TcpproxyServerDown", True),
    (USABLE, "2 1 1 1 1", "40s", "TcpproxyNoServer", False),
    (USABLE, "2 1 0 0 0", "40s", "TcpproxyNoServer", True),
    ("tcpproxy_checks_late_total", "7 7 7 7 7", "40s", "TcpproxyChecksLate", False),
    ("tcpproxy_checks_late_total", "7 7 8 9 9", "40s", "TcpproxyChecksLate", True),
    ('tcpproxy_worker_takeovers_total{worker="0"}', "3 3 3 3 3", "40s", "TcpproxyWorkerReplaced", False),
    ('tcpproxy_worker_takeovers_total{worker="0"}', "3 3 4 4 4", "40s", "TcpproxyWorkerReplaced", True),
])
def test_an_alert_fires_when_it_should(tmp_path, series, values, at, alert, fires):
    """One value each ten seconds; seen by the alert itself, as a series, whose text does not matter here."""
    test = {"rule_files": [RULES], "evaluation_interval": "10s", "tests": [{
        "interval": "10s", "input_series": [{"series": series, "values": values}],
        "promql_expr_test": [{"expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})', "eval_time": at,
                              "exp_samples": [{"labels": "{}", "value": 1}] if fires else []}]}]}
    path = tmp_path / "test.json"
    path.write_text(json.dumps(test))
    done = subprocess.run([promtool(), "test", "rules", path], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
