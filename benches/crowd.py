"""Measures crowds and what they stand beside, in one run, by `rush` (see README.md beside this file)."""

import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import time
from itertools import islice

import figures
import redis_alone

ROUNDS = 3
SECONDS = 5
# Long enough that each of a crowd polls in each round, or he would lapse after three minutes.
CROWD_SECONDS = 16
# Purchases take longer: who waits for his turn polls after a second.
PURCHASE_SECONDS = 15
# Whatever the crowd: enough for those who buy.
USERS_MIN = 250_000
# The crowd joins a fresh queue in each round, at most, for so long where it is large enough for this rate.
JOIN_SECONDS = 20
JOIN_RATE_MAX = 50_000
BUYERS = 5_000
# Of the requests of purchases and of joins; more end the run.
BUSY_MAX = 0.01
# Who writes again and again, so that their tokens are known after a second or two, as those of people who polled.
KNOWN = 10_000
POINTS = 10_000_000
FEW, MANY = 1_000, 250_000
BASELINE = "127.0.0.1:0"
PURCHASES = f"whole purchase, five requests, {BUYERS:,}"
JOINS = "join of one queue, 256"


class Rush:
    """One generator for all rows: the same thread, the same bytes."""

    def __init__(self, binary, root, operator):
        self.binary, self.root = binary, root
        self.env = {**os.environ, "RUSH_OPERATOR_TOKEN": operator}

    def run(self, *args):
        command = [self.binary, *map(str, args)]
        done = subprocess.run(command, env=self.env, check=True, capture_output=True, text=True)
        return json.loads(done.stdout.splitlines()[-1])

    def load(self, url, flow, *args, refused=(), busy_max=0, seconds=SECONDS):
        """Figures of one load; every answer is a success, or of a status that is expected. Of all answers a share of
        `busy_max` may be 503."""
        with figures.Run(self.root) as run:
            found = self.run("load", "--url", url, "--flow", flow, "--seconds", seconds, *args)
        wrong = {status for status in found["statuses"] if int(status) >= 300} - {*refused, "503"}
        busy = found["statuses"].get("503", 0) / found["requests"]
        if wrong or found["broken"] or busy > busy_max:
            sys.exit(f"{flow}: {found}")
        rate, count = found["rate"], found["requests"]
        if flow == "purchase":
            count = found["kinds"]["purchase"]["count"]
            rate = count / found["seconds"]
        return {
            "rate": rate,
            "count": count,
            "busy": busy,
            "p50": found["p50_ms"],
            "p99": found["p99_ms"],
            "cpu": {name: spent / count * 1e6 for name, spent in run.spent.items()},
        }


class Baseline:
    """The same write by Postgres alone, on the demo's Postgres; and a handler that does nothing."""

    def __init__(self, binary, database):
        command = [binary, "postgres-only", "--database-url", database, "--listen", BASELINE]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.settings = ""
        for line in self.process.stdout:
            if line.startswith("ready "):
                self.url = line.split()[1]
                return
            self.settings = line.strip()
        sys.exit("the baseline does not start")

    def end(self):
        self.process.terminate()
        self.process.wait()


def queue_of(connection, operator):
    body = {"name": "Crowd", "admitPerSecond": 0, "maxActive": 0, "activeSeconds": 60}
    return figures.ask(connection, "POST", "/v1/queues", body, **operator)["queueId"]


def sold_out(connection, operator, users):
    """A campaign of one coupon, which somebody has who is not of the few."""
    body = {"name": "Sold out", "quantity": 1, "expiresAt": "2099-01-01T00:00:00Z", "perUser": 1}
    campaign = figures.ask(connection, "POST", "/v1/coupon-campaigns", body, **operator)["campaignId"]
    with users.open() as file:
        token = next(islice(file, FEW + 1, None)).strip().split(",")[1]
    who = {"Authorization": f"Bearer {token}", "Idempotency_Key": "sold-out"}
    figures.ask(connection, "POST", f"/v1/coupon-campaigns/{campaign}/claims", **who)
    return campaign


def some_of(users, folder, count):
    """The file of the first of them."""
    some = folder / f"users-{count}"
    with users.open() as all_lines, some.open("w") as file:
        file.writelines(islice(all_lines, count + 1))
    return some


def crowd(rush, url, queue, users, folder):
    """All of a file wait in a queue; the file of their tickets."""
    tickets = folder / f"tickets-{queue}"
    rush.run("join-all", "--url", url, "--queue", queue, "--users", users, "--tickets", tickets)
    return tickets


def used_memory(port):
    command = ["redis-cli", "-p", port, "info", "memory"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(re.search(r"used_memory:(\d+)", text)[1])


def lag(url):
    """The oldest entry that Postgres does not have, in seconds."""
    found = re.findall(r"^onrush_journal_lag_seconds\{.*\} ([\d.e-]+)$", figures.scrape(url), re.M)
    return max(map(float, found), default=0)


class Joins:
    """The crowd joins a fresh queue, with tokens that were met before; how far Postgres is behind right after."""

    def __init__(self, rush, url, users, many):
        self.rush, self.url, self.users, self.lags = rush, url, users, []
        self.seconds = max(1, min(JOIN_SECONDS, many // JOIN_RATE_MAX))

    def load(self):
        args = ("--users", self.users, "--connections", 256)
        found = self.rush.load(self.url, "join", *args, busy_max=BUSY_MAX, seconds=self.seconds)
        self.lags.append(lag(self.url))
        time.sleep(2)
        return found


def load_users(binary, folder, count, points, *target):
    """So many users with points, made where the target says; the file of them."""
    users = folder / "users.csv"
    with users.open("w") as file:
        command = [binary, "load-users", *target, "--count", str(count), "--points", str(points)]
        subprocess.run(command, check=True, stdout=file)
    return users


def in_turn(loads, runs):
    for at in range(ROUNDS):
        for name, load in loads.items():
            runs.setdefault(name, []).append(load())
            print(f"round {at + 1}: {name}: {runs[name][-1]['rate']:.0f}/s", file=sys.stderr)


def measure(rush, baseline, demo, folder, binary, many):
    url = demo["url"]
    users = load_users(binary, folder, max(many, USERS_MIN), POINTS, "--data-dir", folder)
    # Connections that are idle for long are closed.
    connection, operator = figures.sign_in(demo, "OPERATOR")
    few, lots = queue_of(connection, operator), queue_of(connection, operator)
    sold = sold_out(connection, operator, users)
    port = demo["redisUrl"].rsplit(":", 1)[1]
    few_users, known = some_of(users, folder, FEW), some_of(users, folder, KNOWN)
    tickets = crowd(rush, url, few, few_users, folder)
    many_users = some_of(users, folder, many)
    before = used_memory(port)
    all_tickets = crowd(rush, url, lots, many_users, folder)
    bytes_each = (used_memory(port) - before) / many
    print(f"bytes of Redis a waiter, journal and all: {bytes_each:.0f}", file=sys.stderr)
    poll = lambda queue, tickets, seconds: rush.load(
        url, "poll", "--queue", queue, "--tickets", tickets, seconds=seconds)
    charge = lambda clients: rush.load(url, "charge", "--users", known, "--connections", clients)
    alone = lambda clients: rush.load(baseline.url, "postgres-charge", "--connections", clients)
    claim = lambda: rush.load(url, "claim", "--users", known, "--connections", 256)
    refused = lambda: rush.load(url, "claim", "--campaign", sold, "--users", few_users, refused=["410"])
    buy = lambda: rush.load(
        url, "purchase", "--users", users, "--connections", BUYERS, busy_max=BUSY_MAX, seconds=PURCHASE_SECONDS)
    joins = Joins(rush, url, many_users, many)
    loads = {
        "bare axum handler, 64": lambda: rush.load(baseline.url, "bare"),
        "`GET /livez`, 64": lambda: rush.load(url, "livez"),
        f"poll, {FEW:,} waiting, 64": lambda: poll(few, tickets, SECONDS),
        f"poll, {many:,} waiting, 64": lambda: poll(lots, all_tickets, CROWD_SECONDS),
        "claim that comes too late, 64": refused,
        "Postgres alone: charge, 64": lambda: alone(64),
        "durable charge, 64": lambda: charge(64),
        "Postgres alone: charge, 256": lambda: alone(256),
        "durable charge, 256": lambda: charge(256),
        "durable claim of one campaign, 256": claim,
        PURCHASES: buy,
    }
    runs = {}
    in_turn(loads, runs)
    waiting = figures.ask(figures.connect(url), "GET", f"/v1/queues/{lots}")["waiting"]
    if waiting != many:
        sys.exit(f"{waiting} wait in the end, and not {many}")
    # Last, since those who never poll lapse three minutes later.
    in_turn({JOINS: joins.load}, runs)
    print(f"lag right after joins, s: {joins.lags}", file=sys.stderr)
    return runs


def tell(runs, settings, many):
    livez = runs["`GET /livez`, 64"]
    print(f"{figures.machine()}; {ROUNDS} rounds of {SECONDS} s, medians, in turn; {settings}\n")
    print("| what, clients | a second | beside `/livez` | p50 ms | p99 ms | CPU µs: Onrush + Redis + Postgres |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for name, found in runs.items():
        run, share = figures.median(found), figures.beside(found, livez)
        groups = ("onrush", "Redis", "Postgres")
        cpu = " + ".join(f"{run['cpu'][group]:.1f}" for group in groups)
        print(f"| {name} | {run['rate']:,.0f} | {share:.2f} | {run['p50']:.2f} | {run['p99']:.2f} | {cpu} |")
    for clients in (64, 256):
        ours, alone = runs[f"durable charge, {clients}"], runs[f"Postgres alone: charge, {clients}"]
        print(f"\nCharges beside Postgres alone, {clients} clients: {figures.beside(ours, alone):.2f}")
    for name in (PURCHASES, JOINS):
        shares = ", ".join(f"{run['busy']:.2%}" for run in runs[name])
        print(f"\nAnswered 503, by round: {shares} ({name})")
    polls = figures.beside(runs[f"poll, {many:,} waiting, 64"], runs[f"poll, {FEW:,} waiting, 64"])
    print(f"\nPolls with {many:,} waiting beside {FEW:,}: {polls:.2f}")


@contextlib.contextmanager
def running(rush_binary, binary):
    """A demo without deliveries while the block runs: the generator, what the demo says of itself, its folder. The
    books must agree after it."""
    with figures.running(binary, "--delivery", "off") as (folder, pid):
        demo = json.loads((folder / "demo.json").read_text())
        token = figures.sign_in(demo, "OPERATOR")[1]["Authorization"].split()[1]
        yield Rush(rush_binary, pid, token), demo, folder
        subprocess.run([binary, "verify", "--data-dir", folder], check=True, stdout=sys.stderr)


def main():
    rush_binary, binary, *count = sys.argv[1:]
    many = int(count[0]) if count else MANY
    with running(rush_binary, binary) as (rush, demo, folder):
        baseline = Baseline(rush_binary, demo["databaseUrl"])
        try:
            runs = measure(rush, baseline, demo, folder, binary, many)
        finally:
            baseline.end()
    tell(runs, baseline.settings, many)
    with redis_alone.RedisAlone(rush_binary) as alone:
        for calls in (1, 16):
            rates = sorted(alone.charges(calls) for _ in range(ROUNDS))
            print(f"\nRedis alone, `wallet/charge` under redis-benchmark, {calls} in a run: "
                  f"{rates[ROUNDS // 2]:,.0f} a second")


if __name__ == "__main__":
    main()
