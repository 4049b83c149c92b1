"""Measures Onrush on this machine and prints a table (see README.md beside this file)."""

import contextlib
import http.client
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
ROUNDS = 3
SECONDS = 10
WAITING = 10_000
CHARGERS = 1_000
POINTS = 10_000_000_000
# Seconds that delivery may take after orders.
DELIVERED_MAX = 180
OPEN_LOOP_RATE = 1_000
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids):
    """CPU that these processes have used, user and system, with the children they have waited for."""
    spent = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        spent += sum(int(field) for field in fields[11:15])
    return spent / TICKS


def processes(root):
    """The program, and its servers by name."""
    by_parent = {}
    names = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(stat.parent.name)
        names[pid] = text[text.index("(") + 1 : text.rindex(")")]
        by_parent.setdefault(int(text.rsplit(")", 1)[1].split()[1]), []).append(pid)
    below, todo = [], [root]
    while todo:
        found = by_parent.get(todo.pop(), [])
        below += found
        todo += found
    return {
        "onrush": [root],
        "Redis": [pid for pid in below if names[pid].startswith("redis")],
        "Postgres": [pid for pid in below if names[pid].startswith("postgres")],
    }


class Run:
    def __init__(self, root):
        self.root = root

    def __enter__(self):
        self.groups = processes(self.root)
        self.before = {name: cpu_seconds(pids) for name, pids in self.groups.items()}
        return self

    def __exit__(self, *_):
        self.spent = {name: cpu_seconds(pids) - self.before[name] for name, pids in self.groups.items()}


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def wrk(root, url, connections, script=None, env=None):
    command = ["wrk", "--latency", "-t1", f"-c{connections}", f"-d{SECONDS}s"]
    command += ["-s", str(HERE / script)] if script else []
    with Run(root) as run:
        out = subprocess.run([*command, url], env={**os.environ, **(env or {})}, check=True, capture_output=True, text=True).stdout
    if wrong := re.search(r"Non-2xx or 3xx responses: (\d+)", out):
        sys.exit(f"{url}: {wrong[0]}\n{out}")
    requests = int(re.search(r"(\d+) requests in", out)[1])
    return {
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]),
        "p50": milliseconds(re.search(r"^\s+50%\s+(\S+)", out, re.M)[1]),
        "p99": milliseconds(re.search(r"^\s+99%\s+(\S+)", out, re.M)[1]),
        "cpu": {name: spent / requests * 1e6 for name, spent in run.spent.items()},
    }


def k6(binary, root, folder, env):
    summary = folder / "summary.json"
    command = [binary, "run", "--quiet", "--no-usage-report", f"--summary-export={summary}", str(HERE.parent / "k6" / "charge.js")]
    env = {**env, "RATE": str(OPEN_LOOP_RATE), "SECONDS": str(SECONDS), "GOGC": "400"}
    with Run(root) as run:
        subprocess.run(command, env={**os.environ, **env}, check=True, capture_output=True)
    metrics = json.loads(summary.read_text())["metrics"]
    requests = metrics["http_reqs"]["count"]
    return {
        "rate": requests / SECONDS,
        "p50": metrics["http_req_duration"]["med"],
        "p99": metrics["http_req_duration"]["p(99)"],
        "cpu": {name: spent / requests * 1e6 for name, spent in run.spent.items()},
    }


def order(root, url, connections, env):
    """Orders; then what they have to tell is delivered, so that the next load is not measured with it."""
    figures = wrk(root, url, connections, "order.lua", env)
    for _ in range(DELIVERED_MAX):
        metrics = urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()
        if re.search(r'^onrush_delivery_pending{endpoint="demo"} 0$', metrics, re.M):
            break
        time.sleep(1)
    return figures


def median(runs):
    middle = sorted(runs, key=lambda run: run["rate"])[len(runs) // 2]
    return {**middle, "rate": statistics.median(run["rate"] for run in runs)}


def connect(url):
    return http.client.HTTPConnection(urllib.parse.urlparse(url).netloc, timeout=10)


def ask(connection, method, path, body=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 300:
        sys.exit(f"{method} {path}: {answer.status} {text.decode()}")
    return json.loads(text)


def put_into_queue(url, users, queue):
    """Everybody joins; the tickets."""

    def some(users):
        connection = connect(url)
        return [ask(connection, "POST", f"/v1/queues/{queue}/tickets", Authorization=f"Bearer {token}")["token"] for _, token in users]

    with ThreadPoolExecutor(4) as pool:
        return [ticket for tickets in pool.map(some, [users[at::4] for at in range(4)]) for ticket in tickets]


def measure(k6_binary, binary, folder, root):
    demo = json.loads((folder / "demo.json").read_text())
    url = demo["url"]
    lines = subprocess.run([binary, "load-users", "--data-dir", folder, "--count", str(WAITING), "--points", str(POINTS)], check=True, capture_output=True, text=True).stdout
    users = [line.split(",") for line in lines.split()[1:]]
    some = folder / "users.csv"
    some.write_text("userId,accessToken\n" + "\n".join(",".join(user) for user in users[:CHARGERS]) + "\n")
    operator = next(user for user in demo["users"] if user["role"] == "OPERATOR")
    connection = connect(url)
    session = ask(connection, "POST", "/v1/auth/login", {"email": operator["email"], "password": operator["password"]})
    body = {"name": "Figures", "admitPerSecond": 0, "maxActive": 0, "activeSeconds": 60}
    queue = ask(connection, "POST", "/v1/queues", body, Authorization=f"Bearer {session['accessToken']}")["queueId"]
    tickets = folder / "tickets"
    tickets.write_text("\n".join(put_into_queue(url, users, queue)) + "\n")

    poll_env = {"TICKETS": str(tickets), "POLL_PATH": f"/v1/queues/{queue}/tickets/me"}
    menu = next(menu for menu in ask(connection, "GET", "/v1/menus")["items"] if menu["name"] == "Cookie")
    order_env = {"USERS": str(some), "MENU": menu["menuId"]}
    loads = {
        "`GET /livez`": lambda _: wrk(root, f"{url}/livez", 64),
        f"position poll, {WAITING} waiting": lambda _: wrk(root, url, 64, "poll.lua", poll_env),
        "durable charge, 64 clients": lambda at: wrk(root, url, 64, "charge.lua", {"USERS": str(some), "RUN": f"a{at}"}),
        "durable charge, 256 clients": lambda at: wrk(root, url, 256, "charge.lua", {"USERS": str(some), "RUN": f"b{at}"}),
        "durable order, 64 clients": lambda at: order(root, url, 64, {**order_env, "RUN": f"c{at}"}),
        "durable order, 256 clients": lambda at: order(root, url, 256, {**order_env, "RUN": f"d{at}"}),
        f"durable charge, offered at {OPEN_LOOP_RATE} a second": lambda _: k6(
            k6_binary, root, folder, {"USERS": str(some), "ONRUSH_URL": url}
        ),
    }
    runs = {name: [] for name in loads}
    for at in range(ROUNDS):
        for name, load in loads.items():
            runs[name].append(load(at))
            print(f"round {at + 1}: {name}: {runs[name][-1]['rate']:.0f}/s", file=sys.stderr)
    return {name: median(found) for name, found in runs.items()}


@contextlib.contextmanager
def running(binary):
    """A demo on free ports while the block runs: its folder and its pid. It ends with us, also from outside."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="onrush-bench.") as folder:
        folder = Path(folder) / "demo"
        server = subprocess.Popen([binary, "demo", "--listen", "127.0.0.1:0", "--data-dir", folder], stdout=subprocess.PIPE, text=True)
        try:
            if not any(line.startswith("ready ") for line in server.stdout):
                sys.exit("the server does not start")
            yield folder, server.pid
        finally:
            server.terminate()
            server.wait()


def main():
    k6_binary, binary = sys.argv[1:]
    with running(binary) as (folder, pid):
        figures = measure(k6_binary, binary, folder, pid)
        subprocess.run([binary, "verify", "--data-dir", folder], check=True, stdout=sys.stderr)
    floor = figures["`GET /livez`"]["rate"]
    processor = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print(f"{os.cpu_count()} cores ({processor}), shared by the load, the service, Redis and Postgres; {ROUNDS} rounds of {SECONDS} s\n")
    print("| what | a second | beside `/livez` | p50 ms | p99 ms | CPU µs: Onrush + Redis + Postgres |\n| --- | ---: | ---: | ---: | ---: | --- |")
    for name, run in figures.items():
        cpu = " + ".join(f"{run['cpu'][group]:.1f}" for group in ("onrush", "Redis", "Postgres"))
        print(f"| {name} | {run['rate']:,.0f} | {run['rate'] / floor:.2f} | {run['p50']:.2f} | {run['p99']:.2f} | {cpu} |")


if __name__ == "__main__":
    main()
