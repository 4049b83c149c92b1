"""Measures Onrush on this machine and prints a table (see README.md beside this file)."""

import contextlib
import http.client
import json
import os
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
ROUNDS = 3
SECONDS = 10
# Of each round where only coupons are measured.
COUPON_SECONDS = 4
WAITING = 10_000
CHARGERS = 1_000
POINTS = 10_000_000_000
# By the seconds of a round; each may claim a campaign's coupons a hundred times.
CLAIMERS = 500
CAMPAIGN = {"name": "Figures", "expiresAt": "2099-01-01T00:00:00Z", "perUser": 100}
CLAIMS = "/v1/coupon-campaigns/{campaignId}/claims"
USES = "/v1/coupons/{code}/use"
# Uses that there are coupons for, by the fastest load of coupons so far.
USES_MAX = 2
# Loads of claims that may be needed for them.
FILLS_MAX = 6
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


def wrk(root, url, connections, script=None, env=None, refused=False):
    """Figures of one load; each answer is to be a success, or each a refusal."""
    command = ["wrk", "--latency", "-t1", f"-c{connections}", f"-d{SECONDS}s"]
    command += ["-s", str(HERE / script)] if script else []
    with Run(root) as run:
        env = {**os.environ, **(env or {})}
        done = subprocess.run([*command, url], env=env, check=True, capture_output=True, text=True)
    out = done.stdout
    requests = int(re.search(r"(\d+) requests in", out)[1])
    wrong = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", out)))
    if wrong != (requests if refused else 0):
        sys.exit(f"{url}: {wrong} of {requests} answers are refusals\n{out}")
    if errors := re.search(r"Socket errors: .*", out):
        print(f"{url}: {errors[0]}", file=sys.stderr)
    return {
        "requests": requests,
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]),
        "p50": milliseconds(re.search(r"^\s+50%\s+(\S+)", out, re.M)[1]),
        "p99": milliseconds(re.search(r"^\s+99%\s+(\S+)", out, re.M)[1]),
        "cpu": {name: spent / requests * 1e6 for name, spent in run.spent.items()},
    }


def k6(binary, root, folder, env):
    summary = folder / "summary.json"
    command = [binary, "run", "--quiet", "--no-usage-report", f"--summary-export={summary}"]
    command += [str(HERE.parent / "k6" / "charge.js")]
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


def scrape(url):
    return urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()


def order(root, url, connections, env):
    """Orders; then what they have to tell is delivered, so that the next load is not measured with it."""
    figures = wrk(root, url, connections, "order.lua", env)
    for _ in range(DELIVERED_MAX):
        if re.search(r'^onrush_delivery_pending{endpoint="demo"} 0$', scrape(url), re.M):
            break
        time.sleep(1)
    return figures


def median(runs):
    middle = sorted(runs, key=lambda run: run["rate"])[len(runs) // 2]
    return {**middle, "rate": statistics.median(run["rate"] for run in runs)}


def beside(runs, others):
    """What the same round gave of something else, as the machine is slower at times."""
    return statistics.median(run["rate"] / other["rate"] for run, other in zip(runs, others))


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
        connection, path = connect(url), f"/v1/queues/{queue}/tickets"
        join = lambda token: ask(connection, "POST", path, Authorization=f"Bearer {token}")["token"]
        return [join(token) for _, token in users]

    with ThreadPoolExecutor(4) as pool:
        return [ticket for tickets in pool.map(some, [users[at::4] for at in range(4)]) for ticket in tickets]


def sign_in(demo, role):
    """A connection, and the header of who has this role."""
    connection = connect(demo["url"])
    user = next(user for user in demo["users"] if user["role"] == role)
    body = {"email": user["email"], "password": user["password"]}
    session = ask(connection, "POST", "/v1/auth/login", body)
    return connection, {"Authorization": f"Bearer {session['accessToken']}"}


def load_users(binary, folder, count, points=0):
    command = [binary, "load-users", "--data-dir", folder, "--count", str(count), "--points", str(points)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.split(",") for line in lines.split()[1:]]


def write_users(file, users):
    file.write_text("userId,accessToken\n" + "\n".join(",".join(user) for user in users) + "\n")
    return {"USERS": str(file)}


class Coupons:
    """Claims of one campaign, uses of the coupons that were claimed, and who comes too late."""

    def __init__(self, binary, folder, root, demo):
        self.folder, self.root, self.url = folder, root, demo["url"]
        self.connection, self.operator = sign_in(demo, "OPERATOR")
        *self.users, (_, winner) = load_users(binary, folder, CLAIMERS * SECONDS + 1)
        self.env = write_users(folder / "claimers.csv", self.users)
        self.runs, self.fastest, self.left, self.is_listed = 0, 0, [], True
        self.sold_out_path = self.campaign(1)
        by = {"Authorization": f"Bearer {winner}", "Idempotency_Key": "first"}
        ask(self.connection, "POST", self.sold_out_path, **by)

    def campaign(self, quantity):
        body = {**CAMPAIGN, "quantity": quantity}
        made = ask(self.connection, "POST", "/v1/coupon-campaigns", body, **self.operator)
        return CLAIMS.replace("{campaignId}", made["campaignId"])

    def load(self, connections, script, env, route, status):
        """Figures of one load, in which the route gave no other status."""
        before = self.answers(route)
        figures = wrk(self.root, self.url, connections, script, env, refused=status >= 400)
        found = self.answers(route) - before
        if set(found) != {str(status)}:
            sys.exit(f"{route}: {dict(found)}")
        if status < 400:
            self.fastest = max(self.fastest, figures["requests"])
        return figures

    def answers(self, route):
        """Answers that the route has given, by status."""
        of = r'^onrush_http_request_seconds_count{route="%s",.*status="(\d+)"} (\d+)$' % re.escape(route)
        return Counter({status: int(count) for status, count in re.findall(of, scrape(self.url), re.M)})

    def claim(self, connections, path=None, status=201):
        """Of a campaign of ten billion, which nobody has claimed before."""
        self.runs += 1
        env = {**self.env, "RUN": f"claim{self.runs}", "CLAIM_PATH": path or self.campaign(10_000_000_000)}
        self.is_listed = self.is_listed and status != 201
        return self.load(connections, "claim.lua", env, CLAIMS, status)

    def sold_out(self, connections):
        return self.claim(connections, self.sold_out_path, 410)

    def use(self, connections):
        """Of coupons that the claims before gave, or else claims that do not count."""
        for _ in range(FILLS_MAX):
            if len(self.left) >= USES_MAX * self.fastest:
                break
            if self.is_listed:
                self.claim(256)
            self.list()
        else:
            sys.exit(f"too few coupons to be used: {len(self.left)}")
        coupons = self.folder / "coupons.csv"
        coupons.write_text("\n".join(self.left) + "\n")
        figures = self.load(connections, "use.lua", {"COUPONS": str(coupons)}, USES, 200)
        # Those that were under way at the end may be used, too.
        del self.left[: figures["requests"] + connections + 1]
        return figures

    def list(self):
        """The hundred that each got last, as far as they can be used."""
        self.left, self.is_listed = [], True
        for _, token in self.users:
            page = ask(self.connection, "GET", "/v1/coupons?limit=100", Authorization=f"Bearer {token}")
            codes = (coupon["code"] for coupon in page["items"] if coupon["status"] == "ASSIGNED")
            self.left += [f"{code},{token}" for code in codes]
        random.shuffle(self.left)


def polls(root, demo, folder, users):
    """Everybody waits in one queue; the load that asks where."""
    connection, operator = sign_in(demo, "OPERATOR")
    body = {"name": "Figures", "admitPerSecond": 0, "maxActive": 0, "activeSeconds": 60}
    queue = ask(connection, "POST", "/v1/queues", body, **operator)["queueId"]
    tickets = folder / "tickets"
    tickets.write_text("\n".join(put_into_queue(demo["url"], users, queue)) + "\n")
    env = {"TICKETS": str(tickets), "POLL_PATH": f"/v1/queues/{queue}/tickets/me"}
    return lambda _: wrk(root, demo["url"], 64, "poll.lua", env)


def measure(k6_binary, binary, folder, root, only_coupons):
    demo = json.loads((folder / "demo.json").read_text())
    url = demo["url"]
    users = load_users(binary, folder, CHARGERS if only_coupons else WAITING, POINTS)
    env = write_users(folder / "users.csv", users[:CHARGERS])
    charge = lambda connections, run: wrk(root, url, connections, "charge.lua", {**env, "RUN": run})
    livez, charges = "`GET /livez`", "durable charge, {} clients"
    loads = {
        livez: lambda _: wrk(root, f"{url}/livez", 64),
        charges.format(64): lambda at: charge(64, f"a{at}"),
        charges.format(256): lambda at: charge(256, f"b{at}"),
    }
    if not only_coupons:
        poll = polls(root, demo, folder, users)
        menus = ask(connect(url), "GET", "/v1/menus")["items"]
        order_env = {**env, "MENU": next(menu["menuId"] for menu in menus if menu["name"] == "Cookie")}
        open_loop = {**env, "ONRUSH_URL": url}
        loads = {livez: loads.pop(livez), f"position poll, {WAITING} waiting": poll} | loads
        loads |= {
            "durable order, 64 clients": lambda at: order(root, url, 64, {**order_env, "RUN": f"c{at}"}),
            "durable order, 256 clients": lambda at: order(root, url, 256, {**order_env, "RUN": f"d{at}"}),
            f"durable charge, offered at {OPEN_LOOP_RATE} a second": lambda _: k6(
                k6_binary, root, folder, open_loop
            ),
        }
    coupons = Coupons(binary, folder, root, demo)
    loads |= {
        "durable claim of one campaign, 64 clients": lambda _: coupons.claim(64),
        "durable claim of one campaign, 256 clients": lambda _: coupons.claim(256),
        "durable use of coupons, 64 clients": lambda _: coupons.use(64),
        "durable use of coupons, 256 clients": lambda _: coupons.use(256),
        "claim where all is sold out, 64 clients": lambda _: coupons.sold_out(64),
    }
    runs = {name: [] for name in loads}
    for at in range(ROUNDS):
        for name, load in loads.items():
            runs[name].append(load(at))
            print(f"round {at + 1}: {name}: {runs[name][-1]['rate']:.0f}/s", file=sys.stderr)
    return runs


@contextlib.contextmanager
def running(binary, *options):
    """A demo on free ports while the block runs: its folder, its pid. It ends with us, also from outside."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="onrush-bench.") as folder:
        folder = Path(folder) / "demo"
        command = [binary, "demo", "--listen", "127.0.0.1:0", "--data-dir", folder, *options]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            if not any(line.startswith("ready ") for line in server.stdout):
                sys.exit("the server does not start")
            yield folder, server.pid
        finally:
            server.terminate()
            server.wait()


def machine():
    models = (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    cores = f"{os.cpu_count()} cores ({next(models, platform.machine())})"
    return f"{cores}, shared by the load, the service, Redis and Postgres"


def main():
    global SECONDS
    k6_binary, binary, *only = sys.argv[1:]
    if only not in ([], ["coupons"]):
        sys.exit(f"usage: {sys.argv[0]} K6 ONRUSH [coupons]")
    SECONDS = COUPON_SECONDS if only else SECONDS
    with running(binary) as (folder, pid):
        runs = measure(k6_binary, binary, folder, pid, bool(only))
        subprocess.run([binary, "verify", "--data-dir", folder], check=True, stdout=sys.stderr)
    print(f"{machine()}; {ROUNDS} rounds of {SECONDS} s\n")
    print("| what | a second | beside `/livez` | p50 ms | p99 ms | CPU µs: Onrush + Redis + Postgres |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for name, found in runs.items():
        run, share = median(found), beside(found, runs["`GET /livez`"])
        cpu = " + ".join(f"{run['cpu'][group]:.1f}" for group in ("onrush", "Redis", "Postgres"))
        print(f"| {name} | {run['rate']:,.0f} | {share:.2f} | {run['p50']:.2f} | {run['p99']:.2f} | {cpu} |")
    print("\nBeside charges of as many clients:")
    for name, found in runs.items():
        charges = runs.get(f"durable charge, {name.rpartition(', ')[2]}", found)
        if name.startswith("durable") and charges is not found:
            print(f"- {name}: {beside(found, charges):.2f}")


if __name__ == "__main__":
    main()
