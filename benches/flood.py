"""Measures what a flood of sign-ins costs those who wait in line (see README.md beside this file)."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request

import figures

RATE = 200
ROUNDS = 3
QUEUE = {"name": "Flood", "admitPerSecond": 0, "maxActive": 0, "activeSeconds": 60}


def hashed(url):
    """Passwords that the server has hashed since it started."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        return int(re.search(r"^onrush_passwords_hashed_total (\d+)", answer.read().decode(), re.M)[1])


def flood(k6, demo, folder, poll):
    """Polls while sign-ins are offered; what became of both."""
    user = next(user for user in demo["users"] if user["role"] == "USER")
    summary = folder / "flood.json"
    command = [k6, "run", "--quiet", "--no-usage-report", f"--summary-export={summary}", str(figures.HERE.parent / "k6" / "flood.js")]
    env = {"ONRUSH_URL": demo["url"], "EMAIL": user["email"], "PASSWORD": user["password"], "RATE": str(RATE)}
    env |= {"SECONDS": str(figures.SECONDS + 3), "GOGC": "400"}
    before = hashed(demo["url"])
    offering = subprocess.Popen([*command], env={**os.environ, **env}, stdout=subprocess.DEVNULL)
    try:
        time.sleep(2)
        polls = poll()
        if offering.wait() != 0:
            sys.exit("k6 failed")
    finally:
        offering.kill()
    metrics = json.loads(summary.read_text())["metrics"]
    count = {name: metrics.get(f"sign_ins_{name}", {"count": 0})["count"] for name in ("hashed", "busy", "limited", "other")}
    return polls, {**count, "by the server": hashed(demo["url"]) - before, "rate": metrics["http_reqs"]["rate"]}


def measure(k6, binary, folder, root):
    demo = json.loads((folder / "demo.json").read_text())
    connection = figures.connect(demo["url"])
    operator = next(user for user in demo["users"] if user["role"] == "OPERATOR")
    session = figures.ask(connection, "POST", "/v1/auth/login", {"email": operator["email"], "password": operator["password"]})
    queue = figures.ask(connection, "POST", "/v1/queues", QUEUE, Authorization=f"Bearer {session['accessToken']}")["queueId"]
    command = [binary, "load-users", "--data-dir", folder, "--count", "1000"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    tickets = folder / "tickets"
    users = [line.split(",") for line in lines.split()[1:]]
    tickets.write_text("\n".join(figures.put_into_queue(demo["url"], users, queue)) + "\n")
    env = {"TICKETS": str(tickets), "POLL_PATH": f"/v1/queues/{queue}/tickets/me"}
    alone, during, sign_ins = [], [], []
    for _ in range(ROUNDS):
        poll = lambda: figures.wrk(root, demo["url"], 64, "poll.lua", env)
        alone.append(poll())
        polls, counts = flood(k6, demo, folder, poll)
        during.append(polls)
        sign_ins.append(counts)
        if counts["hashed"] != counts["by the server"] or counts["other"]:
            sys.exit(f"who was refused was hashed, or was told something else: {counts}")
    return figures.median(alone), figures.median(during), sign_ins


def main():
    k6, binary = sys.argv[1:]
    with figures.running(binary) as (folder, pid):
        alone, during, sign_ins = measure(k6, binary, folder, pid)
    print("| polls | a second | p50 ms | p99 ms |\n| --- | ---: | ---: | ---: |")
    for name, run in (("alone", alone), (f"while {RATE} sign-ins a second are offered", during)):
        print(f"| {name} | {run['rate']:,.0f} | {run['p50']:.2f} | {run['p99']:.2f} |")
    print(f"\nratio {during['rate'] / alone['rate']:.2f}; sign-ins of each round: {sign_ins}")


if __name__ == "__main__":
    main()
