"""A million wait in one queue: what joining, memory, a lost Redis, admission and lapsing come to (see README.md
beside this file)."""

import json
import subprocess
import sys
import time
import urllib.request

import crowd
import figures

MANY = 1_000_000
RATE = 10_000
ADMIT_SECONDS = 20
LEAVE_SECONDS = 2
# Who left is journaled at the queue's ticks; what is lost before comes back, and lapses.
JOURNALED_SECONDS = 5
# Commands that take longer are told, in milliseconds.
SLOW = 1
PATIENCE = 600


class Server:
    """Redis as its own client sees it."""

    def __init__(self, url):
        self.port = url.rsplit(":", 1)[1]

    def ask(self, *words):
        command = ["redis-cli", "-p", self.port, "--json", *map(str, words)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def watch(self):
        self.ask("config", "set", "slowlog-log-slower-than", SLOW * 1_000)
        self.ask("slowlog", "reset")

    def slowest(self):
        """The longest command since `watch`, and its first keys."""
        found = [(entry[2], entry[3]) for entry in self.ask("slowlog", "get", 1000)]
        if not found:
            return f"below {SLOW} ms"
        took, command = max(found)
        what = " ".join(command[3:8])[-80:]
        return f"{took / 1000:.1f} ms ({command[0]} {what}), {len(found)} above {SLOW} ms"


def state(url, queue):
    return figures.ask(figures.connect(url), "GET", f"/v1/queues/{queue}")


def until(what, reached):
    """How long it takes, in seconds."""
    begun = time.monotonic()
    while not reached():
        if time.monotonic() - begun > PATIENCE:
            sys.exit(f"{what}: not within {PATIENCE} s")
        time.sleep(0.1)
    return time.monotonic() - begun


def is_ready(url):
    try:
        return urllib.request.urlopen(f"{url}/readyz", timeout=10).status == 200
    except OSError:
        return False


def measure(rush, binary, folder, demo, many):
    url, server = demo["url"], Server(demo["redisUrl"])
    users = crowd.load_users(binary, folder, many, 0, "--data-dir", folder)
    connection, operator = figures.sign_in(demo, "OPERATOR")
    lots = crowd.queue_of(connection, operator)
    before, begun = crowd.used_memory(server.port), time.monotonic()
    server.watch()
    tickets = crowd.crowd(rush, url, lots, users, folder)
    tell(f"joined with tokens that are seen for the first time: {many / (time.monotonic() - begun):,.0f} a second")
    tell(f"slowest command while joining: {server.slowest()}")
    journal = sum(memory(server, key) for key in server.ask("keys", "*:journal"))
    all_bytes = crowd.used_memory(server.port) - before
    tell(f"bytes of Redis a waiter: {(all_bytes - journal) / many:.0f}, and {journal / many:.0f} of the journal")

    server.watch()
    begun = time.monotonic()
    subprocess.run([binary, "verify", "--data-dir", folder], check=True, stdout=sys.stderr)
    tell(f"`onrush verify` took {time.monotonic() - begun:.1f} s; slowest command: {server.slowest()}")

    server.watch()
    left = rush.load(url, "leave", "--queue", lots, "--tickets", tickets, seconds=LEAVE_SECONDS)
    until("who left is gone", lambda: state(url, lots)["waiting"] == many - left["count"])
    tell(f"{left['count']:,} left, {left['rate']:,.0f} a second (64 clients, p99 {left['p99']:.1f} ms); "
         f"slowest command: {server.slowest()}")

    time.sleep(JOURNALED_SECONDS)
    waiting = state(url, lots)["waiting"]
    begun = time.monotonic()
    server.ask("flushall")
    until("the loss is noticed", lambda: not is_ready(url))
    until("recovery", lambda: is_ready(url))
    tell(f"after FLUSHALL with {waiting:,} waiting all shards were live in {time.monotonic() - begun:.1f} s")
    if state(url, lots)["waiting"] != waiting:
        sys.exit(f"{state(url, lots)} after {waiting}")

    # Nobody is let in until the lost, if there were any, had time to ask.
    change(demo, lots, {"admitPerSecond": RATE, "maxActive": many})
    until("admission begins", lambda: state(url, lots)["active"] > 0)
    server.watch()
    first, begun = state(url, lots)["active"], time.monotonic()
    time.sleep(ADMIT_SECONDS)
    admitted, took = state(url, lots)["active"] - first, time.monotonic() - begun
    tell(f"admitted {admitted / took:,.0f} a second of {RATE:,}; slowest command: {server.slowest()}")
    tell(f"lag of Postgres right after: {crowd.lag(url):.1f} s")

    change(demo, lots, {"admitPerSecond": 0})
    waiting, begun = state(url, lots)["waiting"], time.monotonic()
    server.watch()
    until("somebody lapses", lambda: state(url, lots)["waiting"] < waiting)
    since = time.monotonic() - begun
    took = until("all lapse", lambda: state(url, lots)["waiting"] == 0)
    tell(f"{waiting:,} who never polled: the first lapsed after {since:.0f} s, all within {took:.0f} s more; "
         f"slowest command: {server.slowest()}")


def change(demo, queue, settings):
    connection, operator = figures.sign_in(demo, "OPERATOR")
    figures.ask(connection, "PUT", f"/v1/queues/{queue}", settings, **operator)


def memory(server, key):
    return server.ask("memory", "usage", key, "samples", "100") or 0


def tell(line):
    print(f"- {line}", flush=True)


def main():
    rush_binary, binary, *count = sys.argv[1:]
    many = int(count[0]) if count else MANY
    with crowd.running(rush_binary, binary) as (rush, demo, folder):
        measure(rush, binary, folder, demo, many)


if __name__ == "__main__":
    main()
