"""The page as people see it: in Chromium. Skipped where there is none (Debian: chromium-driver, python3-selenium)."""
import json
import os
import re
import resource
import shutil
import socket
import tempfile
import time

import pytest

from lib import build
from lib.page import Page
from lib.peers import connect, gets_reset
from lib.ports import free_port
from lib.waiting import wait_for

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.service import Service as Driver  # noqa: E402
from selenium.common.exceptions import ElementClickInterceptedException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

pytestmark = [pytest.mark.skipif(not shutil.which("chromedriver"), reason="no chromedriver"),
              pytest.mark.skipif(not build.has_page(), reason="this build has no page"), pytest.mark.limit(120)]

FLAGS = ("--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
         "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1400,1000").split()
PATIENCE = 20  # a browser on a busy machine


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    home = tempfile.mkdtemp(prefix="tcpproxy-browser-")
    for flag in [*FLAGS, f"--user-data-dir={home}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    b = webdriver.Chrome(service=Driver(shutil.which("chromedriver")), options=options)
    yield b
    b.quit()
    shutil.rmtree(home, ignore_errors=True)


def prefer(browser, scheme):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})


class Shown:
    """A proxy, and its page in the browser."""

    def __init__(self, start, service, browser, token=None, more=""):
        self.browser, self.page = browser, Page(token)
        self.port, self.broken, self.server = free_port(), free_port(), service()
        self.proxy = start(config=f"{self.page.line}port {self.port}\nserver {self.server.spelt}\n"
                                  f"port {self.broken}\nserver 127.0.0.1:{free_port()}\nenv PASSWORD=xyzzy\n{more}")
        self.page.wait_answers()
        browser.get_log("browser")
        browser.get_log("performance")
        browser.get(f"http://127.0.0.1:{self.page.port}/")
        self.wait(lambda: self.text("state") == "serving", "the page to show that it serves")

    def wait(self, condition, what):
        return wait_for(condition, f"{what}; the browser says {self.browser.get_log('browser')}", PATIENCE)

    def click(self, element):
        """Tables above it may still grow, and push it out of sight: then nothing was clicked."""
        def clicked():
            self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            try:
                element.click()
            except ElementClickInterceptedException:
                return False
            return True
        self.wait(clicked, "it can be clicked")

    def find(self, name):
        return self.browser.find_element(By.ID, name)

    def text(self, name):
        return self.find(name).text

    def rows(self, name):
        return self.browser.execute_script(
            "return [...document.querySelectorAll(arguments[0] + ' tbody tr')].map(r => [...r.cells].map(c => c.innerText))",
            "#table-" + name)

    def requested(self):
        """Every URL that was asked for since the last look, as often as it was."""
        events = (json.loads(e["message"])["message"] for e in self.browser.get_log("performance"))
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


@pytest.fixture
def shown(start, service, browser):
    prefer(browser, "light")
    return Shown(start, service, browser)


def test_nothing_is_requested_from_outside_and_nothing_is_refused(shown):
    urls = []

    def rounds():
        urls.extend(u for u in shown.requested() if not u.startswith("data:"))
        return sum("/api/status" in u for u in urls) >= 4
    shown.wait(rounds, "some rounds of its questions")
    assert {u.split("?")[0].removeprefix(f"http://127.0.0.1:{shown.page.port}") for u in urls} == {
        "/", "/api/status", "/api/connections", "/api/history", "/api/errors", "/api/config"}
    assert shown.browser.get_log("browser") == []


def test_live_numbers_move(shown):
    assert shown.rows("connections") == [["No connection"]]
    clients = [connect(shown.port) for _ in range(3)]
    clients[0].sendall(b"x" * 50_000)
    shown.wait(lambda: shown.text("now-active") == "3" and len(shown.rows("connections")) == 3, "three connections")
    shown.wait(lambda: shown.rows("services")[0][2:5] == ["1 of 1", "3", "3"], "the numbers of the service")
    shown.wait(lambda: any("50.0 kB" in row for row in shown.rows("connections")), "the bytes")
    clients.pop().close()
    shown.wait(lambda: shown.text("now-active") == "2" and len(shown.rows("connections")) == 2, "two of them")
    for c in clients:
        c.close()


def test_the_search_box(shown):
    clients = [connect(shown.port, source=f"127.0.0.{i}") for i in (31, 32, 33)]
    shown.wait(lambda: len(shown.rows("connections")) == 3, "three connections")
    shown.find("search").send_keys("127.0.0.32")
    shown.wait(lambda: [row[2].rpartition(":")[0] for row in shown.rows("connections")] == ["127.0.0.32"], "the one found")
    assert shown.text("shown") == "1 of 3 match"
    shown.find("search").clear()
    shown.find("search").send_keys("nobody")
    shown.wait(lambda: shown.rows("connections") == [["No connection"]], "none")
    for c in clients:
        c.close()


def test_sorting(shown):
    clients = [connect(shown.port, source=f"127.0.0.{i}") for i in (33, 31, 32)]
    shown.wait(lambda: len(shown.rows("connections")) == 3, "three connections")
    head = shown.browser.find_element(By.CSS_SELECTOR, "#table-connections th[data-sort=client]")
    shown.click(head)
    shown.wait(lambda: [r[2].rpartition(":")[0] for r in shown.rows("connections")] == [f"127.0.0.{i}" for i in (31, 32, 33)],
               "the order of clients")
    assert head.get_attribute("aria-sort") == "ascending"
    for c in clients:
        c.close()


def test_errors_in_words(shown):
    for _ in range(3):
        gets_reset(shown.broken)
    shown.wait(lambda: shown.text("now-errors") == "3", "the number of errors")
    shown.wait(lambda: "no server took the connection" in shown.text("reasons"), "the reason")
    shown.wait(lambda: [r[1:4] for r in shown.rows("errors") if r[3] == str(shown.broken)] ==
               [["3", "no server took the connection", str(shown.broken)]], "one line for the three")


def test_the_configuration_is_shown_and_follows_a_reload(shown):
    shown.wait(lambda: f"port {shown.port}" in shown.text("config"), "its port")
    shown.proxy.rewrite(shown.proxy.config + "timeout 77\n")
    shown.proxy.signal(1)
    shown.wait(lambda: "timeout 77" in shown.text("config"), "the new line")


def test_a_worker_that_is_replaced_is_seen(shown):
    shown.proxy.expect_deaths()
    serving = [[str(i), "serving"] for i in range(shown.proxy.trios)]
    shown.wait(lambda: [row[:2] for row in shown.rows("workers")] == serving, "the workers")
    os.kill(shown.proxy.workers()[0], 9)
    shown.wait(lambda: shown.text("takeovers") == "1 takeover", "the takeover")


def test_charts_are_drawn(shown):
    shown.wait(lambda: shown.browser.execute_script("""
        const canvas = document.querySelector("#chart-connections canvas");
        const data = canvas && canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return data && data.some(v => v > 0);"""), "something on the canvas")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(shown, browser, scheme):
    def brightness():
        rgb = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        return sum(map(int, rgb.strip("rgb()").split(",")[:3])) / 3
    prefer(browser, scheme)
    shown.wait(lambda: (brightness() > 128) == (scheme == "light"), "what the system prefers")
    assert shown.text("theme") == "Auto"
    shown.find("theme").click()
    shown.wait(lambda: (brightness() > 128) != (scheme == "light"), "the other one")
    browser.refresh()
    shown.wait(lambda: (brightness() > 128) != (scheme == "light"), "that it was remembered")
    browser.execute_script("localStorage.clear()")


def test_steering_with_the_token(start, service, directory, browser):
    prefer(browser, "light")
    shown = Shown(start, service, browser, directory.write("token", "open sesame\n", mode=0o600))
    client = connect(shown.port)
    shown.wait(lambda: shown.find("unlock").is_displayed(), "the way to steer")
    assert not browser.find_elements(By.CSS_SELECTOR, "#table-services button")
    shown.wait(lambda: "env PASSWORD=***" in shown.text("config"), "the configuration, without secrets")
    shown.find("unlock").click()
    shown.find("ask-token").send_keys("open sesame")
    shown.find("ask-yes").click()
    shown.wait(lambda: "env PASSWORD=xyzzy" in shown.text("config"), "the configuration, with them")
    shown.wait(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#table-connections button")) == 1, "a button for it")
    browser.execute_script("document.querySelector('#table-connections button').click()")
    shown.find("ask-yes").click()
    shown.wait(lambda: shown.text("said") == "Killed 1 connection", "what was done")
    client.settimeout(PATIENCE)
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_names_and_health(start, service, browser):
    port, dead = free_port(), free_port()
    shown = Shown(start, service, browser, more=f"port {port} as mail\nserver 127.0.0.1:{dead} as db1\n")

    def row(table, name):
        return next((r for r in shown.rows(table) if r[0] == name), None)
    shown.wait(lambda: row("servers", "db1") and row("servers", "db1")[1] == "not tried yet", "the server by its name")
    assert row("services", "mail")
    for _ in range(3):
        assert gets_reset(port)
    shown.wait(lambda: re.fullmatch(r"failed \S+ m?s: Connection refused", row("servers", "db1")[1]), "that it fails, and why")
    # what differs in the client and its id only is one line
    shown.wait(lambda: ["3", "no server took the connection", "mail", "127.0.0.1", "db1"] in [r[1:] for r in shown.rows("errors")],
               "the errors by their names")
    lines = [r for r in shown.rows("errors") if "connecting" in r[2]]
    assert [r[1:3] for r in lines] == [["3", f"connecting a client to db1 (127.0.0.1:{dead}): Connection refused"]]


def test_a_program_with_arguments_can_be_steered(start, service, directory, browser):
    token = directory.write("token", "open sesame\n", mode=0o600)
    shown = Shown(start, service, browser, token, more=f'port {free_port()}\nexec /bin/sh -c "read x; echo \\"$x\\""\n')
    shown.wait(lambda: shown.find("unlock").is_displayed(), "the way to steer")
    shown.find("unlock").click()
    shown.find("ask-token").send_keys("open sesame")
    shown.find("ask-yes").click()

    def row():
        return next(r for r in shown.browser.find_elements(By.CSS_SELECTOR, "#table-servers tbody tr") if "/bin/sh" in r.text)
    shown.wait(lambda: "Disable" in row().text, "the buttons")
    browser.execute_script("arguments[0].click()", row().find_element(By.XPATH, ".//button[text()='Disable']"))
    shown.find("ask-yes").click()
    shown.wait(lambda: ["disabled"] == [r[2] for r in shown.rows("servers") if "/bin/sh" in r[0]], "that it is disabled")


def test_a_wrong_token_is_forgotten(start, service, directory, browser):
    shown = Shown(start, service, browser, directory.write("token", "open sesame\n", mode=0o600))
    shown.wait(lambda: shown.find("unlock").is_displayed(), "the way to steer")
    shown.find("unlock").click()
    shown.find("ask-token").send_keys("open barley")
    shown.find("ask-yes").click()
    shown.wait(lambda: shown.find("reload").is_displayed(), "the button")
    shown.find("reload").click()
    shown.find("ask-yes").click()
    shown.wait(lambda: "steering needs" in shown.text("trouble").lower(), "the refusal")
    shown.wait(lambda: shown.text("unlock") == "Steer", "to be asked again")


def test_what_stopped_is_said(shown):
    shown.proxy.stop()
    shown.wait(lambda: shown.text("state") == "no answer" and "does not answer" in shown.text("trouble"), "the trouble")


def test_names_cannot_bring_code(start, service, browser, directory):
    """A text of the configuration is text, whatever stands in it."""
    prefer(browser, "light")
    shown = Shown(start, service, browser)
    shown.proxy.rewrite(shown.proxy.config + 'log-format "<img src=x onerror=document.title=1>"\n')
    shown.proxy.signal(1)
    shown.wait(lambda: "<img src=x" in shown.text("config"), "the text")
    assert browser.title == "tcpproxy"


def test_five_thousand_connections(start, browser, shown):
    """Only some are fetched; what the page does takes little."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 12000:
        pytest.skip("too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = socket.create_server(("127.0.0.1", 0), backlog=4096)
    port = free_port()
    shown.proxy.rewrite(f"{shown.page.line}port {port}\nserver 127.0.0.1:{server.getsockname()[1]}\n")
    shown.proxy.signal(1)
    wait_for(lambda: f"port {port}\n" in shown.page.json("/api/config")["text"], "the reload")
    held = []
    for _ in range(5000):
        held.append(connect(port))
        held.append(server.accept()[0])
    shown.wait(lambda: shown.text("now-active") == "5,000" and shown.text("shown") == "100 of 5,000", "all of them")

    def once():
        begin = time.monotonic()
        assert len(shown.page.json("/api/connections?limit=100&sort=rate&search=127.0.0.1")["connections"]) == 100
        return time.monotonic() - begin
    assert any(once() < 0.1 for _ in range(30))  # others may be busy on this machine
    shown.find("search").send_keys("id-that-is-none")
    begin = time.monotonic()
    shown.wait(lambda: shown.rows("connections") == [["No connection"]], "none")
    assert time.monotonic() - begin < 5
    for s in held:
        s.close()
    server.close()


def test_a_service_without_a_server(start, service, browser):
    """Its state, who waits, and why, in words."""
    refuses, holds, dying = free_port(), free_port(), service()
    shown = Shown(start, service, browser, more=f"port {refuses} as shut\nserver {dying.spelt}\ncheck every=100ms fall=1 tcp\non-down refuse\n"
                                                f"port {holds} as patient\nserver {dying.spelt}\ncheck every=100ms fall=1 tcp\non-down hold 60\n")
    dying.close()
    shown.proxy.wait_log("it refuses clients now")
    waiting = [connect(holds) for _ in range(2)]

    def state(name, column):
        return next(row[column] for row in shown.rows("services") if row[0] == name)
    shown.wait(lambda: state("shut", 1) == "refusing", "its port refuses")
    shown.wait(lambda: state("patient", 2) == "0 of 1" and state("patient", 3) == "2 (2 waiting)", "two wait")
    words = "of service shut is down, 0 of 1 are usable: check tcp: connection refused"
    shown.wait(lambda: any(words in row[2] for row in shown.rows("errors")), "why")
    for s in waiting:
        s.close()
