"""AWS's price list and the two questions of EC2 about types and spot prices, as an HTTP server on loopback.

moto has no `pricing` at all, and answers every question for spot prices with one figure, 0.00001. So this answers
GetProducts, DescribeInstanceTypes and DescribeSpotPriceHistory, on the wire, as any client sees them. Stricter than
AWS: what it does not know (an operation, a filter's field, an argument) is refused, and so is every key but
`AKIAKNOWN`. Pages are short, so that whoever reads the first alone is found out.
"""

import contextlib
import datetime as dt
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

KEY = "AKIAKNOWN"
PAGE = 2
FIELDS = {"operatingSystem", "tenancy", "preInstalledSw", "capacitystatus", "marketoption", "regionCode"}
USUAL = {"operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used",
         "marketoption": "OnDemand"}  # fmt: skip
NOT_AN_ARGUMENT = {"Action", "Version"}


@dataclass
class Machine:
    """A type: its accelerators as EC2 describes them, region → USD an hour, zone → spot prices from old to new."""

    name: str
    gpus: str = ""
    usd: Mapping[str, float | str] = field(default_factory=dict)
    spots: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def gpu(name: str, count: int, mib: int, more: str = "") -> str:
    """The XML of a type's GPUs."""
    item = f"<name>{name}</name><manufacturer>NVIDIA</manufacturer><count>{count}</count>{more}"
    memory = f"<memoryInfo><sizeInMiB>{mib}</sizeInMiB></memoryInfo>"
    return f"<gpuInfo><gpus><item>{item}{memory}</item></gpus></gpuInfo>"


def neuron(name: str, count: int) -> str:
    """The XML of a type's Neuron devices."""
    item = f"<name>{name}</name><count>{count}</count>"
    return f"<neuronInfo><neuronDevices><item>{item}</item></neuronDevices></neuronInfo>"


@dataclass
class Aws:
    """What it knows, and what it was asked. failing: region → the error's code, and its HTTP status."""

    machines: list[Machine]
    failing: dict[str, tuple[str, int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    products: list[Mapping[str, str]] = field(default_factory=list)
    """Attributes of further products, each with `usd` and `unit`, of whatever else is sold."""

    def ec2(self, arguments: Mapping[str, str], region: str) -> tuple[int, str]:
        action = arguments.get("Action", "")
        self.asked.append(f"{action} {region}")
        if region in self.failing:
            return self._error(*self.failing[region])
        given = {name.partition(".")[0] for name in arguments} - NOT_AN_ARGUMENT
        if action == "DescribeInstanceTypes" and given <= {"MaxResults", "NextToken"}:
            if not 5 <= int(arguments.get("MaxResults", 100)) <= 100:
                return self._error("InvalidParameterValue", 400)
            here = [each for each in self.machines if region in each.usd]
            items = [f"<item><instanceType>{each.name}</instanceType>{each.gpus}</item>" for each in here]
            return self._page(action, "instanceTypeSet", items, arguments)
        if action == "DescribeSpotPriceHistory" and given <= {
            "InstanceType", "ProductDescription", "StartTime", "EndTime", "MaxResults", "NextToken"
        }:  # fmt: skip
            return self._page(action, "spotPriceHistorySet", list(self._history(arguments, region)), arguments)
        return self._error("InvalidAction", 400)

    def _history(self, arguments: Mapping[str, str], region: str) -> Iterator[str]:
        assert arguments["ProductDescription.1"] == "Linux/UNIX"
        wanted = {value for name, value in arguments.items() if name.startswith("InstanceType.")}
        now = dt.datetime.now(dt.UTC)
        for machine in (each for each in self.machines if each.name in wanted):
            for zone, spots in machine.spots.items():
                # The newest first, as EC2 has it.
                for age, usd in enumerate(reversed(spots)):
                    at = (now - dt.timedelta(hours=age)).isoformat()
                    if zone.startswith(region):
                        yield (
                            f"<item><instanceType>{machine.name}</instanceType><availabilityZone>{zone}</availabilityZone>"
                            f"<productDescription>Linux/UNIX</productDescription><spotPrice>{usd:.6f}</spotPrice>"
                            f"<timestamp>{at}</timestamp></item>"
                        )

    def _page(self, action: str, name: str, items: list[str], arguments: Mapping[str, str]) -> tuple[int, str]:
        start = int(arguments.get("NextToken") or 0)
        more = f"<nextToken>{start + PAGE}</nextToken>" if start + PAGE < len(items) else "<nextToken></nextToken>"
        inside = f"<{name}>{''.join(items[start : start + PAGE])}</{name}>{more}"
        return 200, f"<{action}Response>{inside}</{action}Response>"

    def _error(self, code: str, status: int) -> tuple[int, str]:
        inside = f"<Error><Code>{code}</Code><Message>refused</Message></Error>"
        return status, f"<Response><Errors>{inside}</Errors></Response>"

    def pricing(self, body: Mapping[str, Any]) -> tuple[int, str]:
        """GetProducts: strings of JSON within JSON."""
        filters = {each["Field"]: each["Value"] for each in body["Filters"]}
        self.asked.append(f"GetProducts {filters.get('regionCode')}")
        is_known = filters.keys() <= FIELDS and {each["Type"] for each in body["Filters"]} == {"TERM_MATCH"}
        if body.get("ServiceCode") != "AmazonEC2" or not is_known or not 1 <= body.get("MaxResults", 100) <= 100:
            return 400, json.dumps({"__type": "InvalidParameterException", "Message": "a filter that nobody knows"})
        found = [each for each in self._sold() if filters.items() <= each.items()]
        start = int(body.get("NextToken") or 0)
        listed = [json.dumps(_product(each)) for each in found[start : start + PAGE]]
        more = {"NextToken": str(start + PAGE)} if start + PAGE < len(found) else {}
        return 200, json.dumps({"FormatVersion": "aws_v1", "PriceList": listed, **more})

    def _sold(self) -> Iterator[Mapping[str, str]]:
        for machine in self.machines:
            for region, usd in machine.usd.items():
                if usd != "":
                    yield {**USUAL, "instanceType": machine.name, "regionCode": region, "usd": str(usd), "unit": "Hrs"}
        for other in self.products:
            yield {**USUAL, "unit": "Hrs", **other}


def _product(sold: Mapping[str, str]) -> dict[str, Any]:
    attributes = {name: value for name, value in sold.items() if name not in ("usd", "unit")}
    dimension = {"unit": sold["unit"], "pricePerUnit": {"USD": sold["usd"]}, "description": "an hour"}
    term = {"priceDimensions": {"SKU.JRTCKXETXF.6YS6EN2CT7": dimension}, "effectiveDate": "2026-11-01T00:00:00Z"}
    return {
        "product": {"productFamily": "Compute Instance", "sku": "SKU", "attributes": attributes},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {"SKU.JRTCKXETXF": term}},
    }


@contextlib.contextmanager
def serving(aws: Aws) -> Iterator[str]:
    """Its address while it answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            # The key, the date, the region and the service.
            scope = self.headers.get("Authorization", "").partition("Credential=")[2].partition(",")[0].split("/")
            if scope[0] != KEY:
                status, answer = aws._error("AuthFailure", 401)
            elif scope[3] == "pricing":
                assert self.headers["X-Amz-Target"] == "AWSPriceListService.GetProducts"
                status, answer = aws.pricing(json.loads(text))
            else:
                status, answer = aws.ec2(dict(parse_qsl(text, keep_blank_values=True)), scope[2])
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer.encode())))
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
