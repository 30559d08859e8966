"""The dashboard for Grafana in packaging/: every name in it is one of ours, and its expressions are valid."""
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


@pytest.fixture(scope="module")
def dashboard():
    with open(os.path.join(GRAFANA, "tcpproxy.json")) as f:
        return json.load(f)


def expressions(dashboard):
    return [t["expr"] for p in dashboard["panels"] for t in p.get("targets", [])]


def names(text):
    return set(re.findall(r"\btcpproxy_\w+", text))


def test_the_names_exist(start, service, admin, dashboard):
    good, bad = free_port(), free_port()
    start(config=f"{admin.line}port {good}\nserver {service().spelt}\nport {bad}\nserver 127.0.0.1:{free_port()}\n")
    ask(good, b"x")
    gets_reset(bad)
    wait_for(lambda: 'reason="connect-failed"' in admin.ask("metrics"), "an end that was counted")
    there = set(re.findall(r"^\w+", admin.ask("metrics"), re.M))
    used = set().union(*map(names, expressions(dashboard)), *(names(v.get("definition", "")) for v in
                                                              dashboard["templating"]["list"]))
    assert len(used) > 20 and used <= there, used - there
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
