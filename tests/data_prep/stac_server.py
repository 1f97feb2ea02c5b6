"""A STAC catalogue of simulated COGs and a server on loopback that serves it well or badly. Not tests."""

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import rasterio
import rasterio.warp

LAYERS_IN = {"_10m": ("B02", "B03", "B04", "B08"), "_20m": ("B05", "B06", "B07", "B8A", "B11", "B12"), "_SCL": ("SCL",)}


def write_cog(path, values, source, nodata):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="COG", height=values.shape[0], width=values.shape[1], count=1, dtype=values.dtype,
        crs=source.crs, transform=source.transform, nodata=nodata, blocksize=128, overviews="none",
    ) as file:  # fmt: skip
        file.write(values, 1)


def publish(site, root, *, offset_every=2):
    """A simulated site's scenes as COGs, one asset per band, in a static catalogue of items; gives root/catalog.json.

    Every `offset_every`-th Sentinel-2 item is of baseline 05.10, its numbers 1000 higher.
    """
    links = []
    for k, first in enumerate(sorted((site / "s2").glob("*_10m.tif"))):
        stem = first.name.removesuffix("_10m.tif")
        high = 1000 if k % offset_every else 0
        assets = {}
        for ending, layers in LAYERS_IN.items():
            with rasterio.open(site / "s2" / f"{stem}{ending}.tif") as source:
                tags = source.tags()
                for number, layer in enumerate(layers, 1):
                    values = source.read(number)
                    if layer != "SCL":
                        values = np.where(values > 0, values + high, 0).astype(np.uint16)
                    write_cog(root / stem / f"{layer}.tif", values, source, 0)
                    assets[layer] = {"href": f"./{layer}.tif", "type": "image/tiff; application=geotiff"}
                item = make_item(stem, source, tags, assets)
        properties = item["properties"]
        properties |= {
            "s2:processing_baseline": "05.10" if high else "02.14",
            "s2:product_type": "S2MSI2A",
            "view:incidence_angle": float(tags["VIEW_ZENITH"]),
            "s2:mean_solar_zenith": float(tags["SUN_ZENITH"]),
            "s2:mean_solar_azimuth": float(tags["SUN_AZIMUTH"]),
        }
        links.append(save(root, item, "s2"))
    for file in sorted((site / "s1").glob("*.tif")):
        with rasterio.open(file) as source:
            for number, layer in enumerate(("vv", "vh"), 1):
                values = source.read(number)
                values = np.where(np.isfinite(values), values, np.float32(-32768))
                write_cog(root / file.stem / f"{layer}.tif", values, source, -32768)
            assets = {b: {"href": f"./{b}.tif"} for b in ("vv", "vh")}
            item = make_item(file.stem, source, source.tags(), assets)
        item["properties"] |= {"sar:product_type": "GRD"}
        links.append(save(root, item, "sentinel-1-rtc"))
    catalogue = {
        "type": "Catalog", "id": "simulated", "description": "Simulated scenes.", "stac_version": "1.0.0",
        "links": [{"rel": "item", "href": href} for href in reversed(links)],
    }  # fmt: skip
    (root / "catalog.json").write_text(json.dumps(catalogue))
    return root / "catalog.json"


def make_item(name, source, tags, assets):
    west, south, east, north = rasterio.warp.transform_bounds(source.crs, "EPSG:4326", *source.bounds)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "bbox": [west, south, east, north], "links": [],
        "geometry": {"type": "Polygon", "coordinates": [ring]}, "assets": assets,
        "properties": {
            "datetime": tags["DATETIME"], "platform": f"Sentinel-{tags['PLATFORM'][1:]}", "eomm:simulated": True,
            "sat:relative_orbit": int(tags["RELATIVE_ORBIT"]), "sat:orbit_state": tags["ORBIT_DIRECTION"].lower(),
        },
    }  # fmt: skip


def save(root, item, collection):
    item["collection"] = collection
    (root / item["id"] / "item.json").write_text(json.dumps(item))
    return f"./{item['id']}/item.json"


class Server:
    """`faults`: what to do wrong, path -> a list of "500", "404", "429", "stall", "truncate" or "to ADDRESS",
    used up in turn, or
    one of them for ever. `requests` counts by path; `times` has when each came."""

    def __init__(self, root):
        self.root, self.faults, self.requests, self.times = root, {}, Counter(), {}
        self.page = 3  # items of a page of /search
        self.url = ""

    def fault_of(self, path):
        planned = self.faults.get(path)
        if isinstance(planned, list):
            return planned.pop(0) if planned else None
        return planned

    def items(self, query):
        found = [json.loads(f.read_text()) for f in sorted(self.root.glob("*/item.json"), reverse=True)]
        for item in found:
            for asset in item["assets"].values():
                asset["href"] = f"{self.url}/{item['id']}/{asset['href'][2:]}"
        wanted = query.get("collections")
        return [i for i in found if not wanted or i["collection"] in wanted]


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args, state, **kw):
        self.state = state
        super().__init__(*args, directory=str(state.root), **kw)

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(head=True)

    def do_GET(self):
        self.answer(head=False)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(head=False, body=json.loads(body))

    def answer(self, *, head, body=None):
        parts = urlsplit(self.path)
        path = parts.path
        self.state.requests[path] += 1
        self.state.times.setdefault(path, []).append(time.monotonic())
        fault = self.state.fault_of(path)
        if fault in ("500", "404", "429"):
            self.send_response(int(fault))
            if fault == "429":
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault and fault.startswith("to "):
            self.send_response(302)
            self.send_header("Location", fault.removeprefix("to "))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "stall":
            time.sleep(1.5)
        content = self.content(parts, body)
        if content is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        whole, status = len(content), 200
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or whole - 1), whole - 1)
            content, status = content[start : end + 1], 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end}/{whole}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if head:
            return
        if fault == "truncate":
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self.wfile.write(content)

    def content(self, parts, body):
        state = self.state
        if parts.path == "/api":
            conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
            links = [
                {"rel": "search", "href": f"{state.url}/api/search", "type": "application/geo+json", "method": "POST"},
                {"rel": "self", "href": f"{state.url}/api"},
            ]
            return json.dumps(
                {"type": "Catalog", "id": "api", "description": "-", "stac_version": "1.0.0", "links": links,
                 "conformsTo": conforms}
            ).encode()  # fmt: skip
        if parts.path == "/api/search":
            query = body or {k: v[0] for k, v in parse_qs(parts.query).items()}
            start = int(query.get("token", 0))
            found = state.items(query)
            links = []
            if start + state.page < len(found):
                after = {**query, "token": start + state.page}
                links = [{"rel": "next", "href": f"{state.url}/api/search", "method": "POST", "body": after}]
            page = found[start : start + state.page]
            return json.dumps({"type": "FeatureCollection", "features": page, "links": links}).encode()
        file = state.root / parts.path.lstrip("/")
        return file.read_bytes() if file.is_file() else None


@contextmanager
def serve(root):
    state = Server(root)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):  # clients that gave up waiting
            pass

    with Quiet(("127.0.0.1", 0), partial(Handler, state=state)) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
