"""Measures several instances, and a Redis Cluster, beside one of each (see README.md beside this file)."""

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import crowd
import figures

ROUNDS = 3
INSTANCES = (1, 3)
SERVERS = {"one Redis": (), "a cluster of three": ("--cluster",)}
USERS, WAITING = 100_000, 1_000
OPERATOR = {"email": "operator@spread.test", "password": secrets.token_hex(8)}
START_SECONDS_MAX = 30
# How long a shard may be without an owner when another instance comes or goes.
SETTLE_SECONDS = 12


@contextlib.contextmanager
def instances(binary, folder, count):
    """So many, on the servers that the environment names; their processes and addresses."""
    command = [binary, "serve", "--listen", "127.0.0.1:0", "--limits", "off",
               "--log", "warn,onrush::cli::serve=info", "--log-format", "json"]
    started, urls = [], []
    try:
        for at in range(count):
            log = folder / f"instance-{at}"
            with log.open("w") as out:
                started.append(subprocess.Popen(command, stdout=out, stderr=out))
            urls.append(address(log))
        yield started, urls
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def address(log):
    for _ in range(START_SECONDS_MAX * 10):
        if found := re.search(r'"listening".*"address":"([^"]*)"', log.read_text()):
            return f"http://{found[1]}"
        time.sleep(0.1)
    sys.exit(f"an instance does not start: {log.read_text()}")


def load(rush, processes, urls, flow, *args):
    """Figures of one load; CPU is that of all instances."""
    pids = [process.pid for process in processes]
    before = figures.cpu_seconds(pids)
    found = rush.load(",".join(urls), flow, *args)
    spent = figures.cpu_seconds(pids) - before
    return {"rate": found["rate"], "p99": found["p99"], "cpu": spent / found["count"] * 1e6}


def inside(rush_binary, binary, folder):
    """One round on the servers that the environment names."""
    os.environ["ONRUSH_JWT_SECRET"] = secrets.token_hex(32)
    subprocess.run([binary, "migrate"], check=True, stdout=sys.stderr)
    create = [binary, "admin", "create", "--role", "OPERATOR", "--email", OPERATOR["email"]]
    subprocess.run(create, input=OPERATOR["password"] + "\n", text=True, check=True, stdout=sys.stderr)
    found, users = {}, None
    for count in INSTANCES:
        with instances(binary, folder, count) as (processes, urls):
            time.sleep(SETTLE_SECONDS)
            users = users or crowd.load_users(binary, folder, USERS, crowd.POINTS)
            connection = figures.connect(urls[0])
            session = figures.ask(connection, "POST", "/v1/auth/login", OPERATOR)
            operator = {"Authorization": f"Bearer {session['accessToken']}"}
            rush = crowd.Rush(rush_binary, os.getpid(), session["accessToken"])
            queue = crowd.queue_of(connection, operator)
            tickets = crowd.crowd(rush, urls[0], queue, crowd.some_of(users, folder, WAITING), folder)
            who = ("--users", users, "--connections", 256)
            found[count] = {
                "poll, 64": load(rush, processes, urls, "poll", "--queue", queue, "--tickets", tickets),
                "join of one queue, 256": load(rush, processes, urls, "join", *who),
                "durable charge, 256": load(rush, processes, urls, "charge", *who),
            }
    subprocess.run([binary, "verify"], check=True, stdout=sys.stderr)
    print(json.dumps(found))


def main():
    rush_binary, binary, *rest = sys.argv[1:]
    if rest == ["inside"]:
        with tempfile.TemporaryDirectory(prefix="onrush-spread.") as folder:
            return inside(rush_binary, binary, Path(folder))
    runs = {}
    for at in range(ROUNDS):
        for servers, options in SERVERS.items():
            with tempfile.TemporaryDirectory(prefix="onrush-spread.") as folder:
                # Postgres runs as another user and has to pass.
                os.chmod(folder, 0o755)
                command = [binary, "with-servers", "--sync", *options, "--data-dir", folder, "--"]
                command += [sys.executable, __file__, rush_binary, binary, "inside"]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            for count, rows in json.loads(done.stdout.splitlines()[-1]).items():
                for row, run in rows.items():
                    runs.setdefault((row, servers, count), []).append(run)
                    print(f"round {at + 1}: {row}: {servers}, {count}: {run['rate']:.0f}/s", file=sys.stderr)
    print(f"{figures.machine()}; {ROUNDS} rounds of {crowd.SECONDS} s, medians, in turn\n")
    print("| what, clients | on | instances | a second | p99 ms | CPU µs of Onrush |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for (row, servers, count), found in sorted(runs.items()):
        run = figures.median(found)
        print(f"| {row} | {servers} | {count} | {run['rate']:,.0f} | {run['p99']:.2f} | {run['cpu']:.1f} |")


if __name__ == "__main__":
    main()
