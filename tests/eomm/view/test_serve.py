"""The page served on loopback: its own browser alone gets it, and gets the same numbers."""

import http.client
import socket
import threading

import numpy as np
import pytest

from eomm.data.arrays import open_array
from eomm.errors import UsageError
from eomm.view import run
from eomm.view.serve import ViewServer
from tests import zoo
from tests.eomm.site import SIZE
from tests.eomm.view import browser
from tests.eomm.view.browser import Page

ASKED = "layer?layer=vectors&first=1&last=3&row=2&col=4&rows=3&cols=5&step=2"


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(run.FIXED, "side", 10)  # so that a site of 24 px is too large for a map
        found = ViewServer(zoo.store("int8"), cube=zoo.cube())
    with found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(server, path, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        connection.request("GET", path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_without_the_token_nobody_gets_anything(server):
    other = ("A" if server.token[0] != "A" else "B") + server.token[1:]
    for path in ("/", "/layer", f"/{ASKED}", f"/{other}/", f"/{other}/{ASKED}", f"/{server.token}x/", "//", "*"):
        status, body = ask(server, path)
        assert status == 403 and b"<html" not in body, path
    assert ask(server, f"/{server.token}/", host="rebound.example")[0] == 403
    assert ask(server, f"/{server.token}/")[0] == 200 and len(server.token) >= 32


def test_it_listens_on_loopback_alone(server):
    assert server.server_address[0] == "127.0.0.1" and server.address.startswith("http://127.0.0.1:")
    own = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in own - {"127.0.0.1"}:  # of this machine, as the network knows it
        with pytest.raises(OSError):
            socket.create_connection((address, server.server_port), timeout=5).close()
    with pytest.raises(UsageError, match="cannot be listened on"):
        ViewServer(zoo.store("int8"), port=server.server_port)


def test_layers_are_read_in_windows_and_nothing_else(server):
    stored = open_array(zoo.store("int8") / "embedding").read().result()
    status, body = ask(server, f"/{server.token}/{ASKED}")
    want = np.asarray(stored)[1:3, 2:8:2, 4:14:2].transpose(0, 3, 1, 2)
    assert status == 200
    np.testing.assert_array_equal(np.frombuffer(body, np.int8).reshape(want.shape), want)
    assert ask(server, f"/{server.token}/../../etc/passwd")[0] == 404
    wrong = {"layer": "secrets", "first": "-1", "last": "99", "row": "x", "col": "23", "rows": "0", "step": "0"}
    for name, value in wrong.items():
        query = "&".join(f"{k}={value if k == name else v}" for k, v in (p.split("=") for p in ASKED[6:].split("&")))
        assert ask(server, f"/{server.token}/layer?{query}")[0] == 400, query


def test_the_served_page_reads_what_it_shows(server, tmp_path):
    with browser.start(tmp_path) as driver:
        page = Page(driver, server.address)
        assert page.image("embedding").shape == (8, 8, 4)  # every third row and column
        page.click(5, 17, (SIZE, SIZE))
        page.to_date(4)
        _, clear = zoo.cube()["s2"].read(None, slice(5, 6), slice(17, 18))
        found = page.series("observed", "A")
        assert len(found) == clear.sum() and "row 5, column 17;" in page.text("chosen")
        page.press("closer")
        page.press("closer")
        page.js("return new Promise((done) => setTimeout(done, 600))")
        page.settle()
        window = page.js("return state.window")
        assert window["step"] == 1 and 8 < window["rows"] <= 10 and window["row"] > 0
        assert page.image("embedding").shape[:2] == (window["rows"], window["cols"])
        assert not page.complaints()
        names = page.js("return performance.getEntriesByType('resource').map((r) => r.name)")
        assert names and all(n.startswith(f"{server.address}layer?") for n in names)
