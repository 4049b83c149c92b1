"""The charge's script under redis-benchmark, on a Redis of its own: what Redis alone could decide."""

import re
import socket
import subprocess
import sys
import tempfile
import time

SHARD = "onrush:{s00}:"
KEYS = [f"{SHARD}meta"] + [f"{SHARD}1:{part}" for part in
                          ("journal", "ops", "past", "wallet:balances", "wallet:reserved")]
CLIENTS = 64
CALLS = 200_000
# Of operations and users, so that hardly any comes twice.
NUMBERS = 10**10


class RedisAlone:
    """Runs while the block does, with the demo's settings."""

    def __init__(self, rush_binary):
        self.port, self.folder = str(free_port()), tempfile.TemporaryDirectory(prefix="onrush-redis.")
        command = ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes",
                   "--auto-aof-rewrite-min-size", "256mb", "--rdbcompression", "no", "--dir", self.folder.name]
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.text = subprocess.run([rush_binary, "script", "wallet/charge"], check=True, capture_output=True).stdout

    def __enter__(self):
        while subprocess.run(self.command("ping"), capture_output=True).stdout != b"PONG\n":
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.server.terminate()
        self.server.wait()
        self.folder.cleanup()

    def command(self, *words):
        return ["redis-cli", "-p", self.port, *words]

    def charges(self, calls):
        """Charges a second, so many in a run."""
        now = str(int(time.time() * 1000))
        subprocess.run(self.command("flushall"), check=True, capture_output=True)
        meta = ["epoch", "1", "state", "live", "head", "0" * 16, "seen", now]
        subprocess.run(self.command("hset", KEYS[0], *meta), check=True, capture_output=True)
        loaded = subprocess.run(self.command("-x", "script", "load"), input=self.text, check=True, capture_output=True)
        one = lambda at: packed(["6f6e7275-7368-4f70-%04x-__rand_int__" % at, "1", "0123456789abcdef", "",
                                 "01928374-aaaa-7bbb-8ccc-__rand_int__", "100",
                                 "01928374-aaaa-7bbb-%04x-__rand_int__" % at, "9007199254740991"])
        args = ["1", "", "01928374-aaaa-7bbb-8ccc-0123456789ab", "", now] + [one(at) for at in range(calls)]
        command = ["redis-benchmark", "-p", self.port, "-n", str(CALLS // calls), "-r", str(NUMBERS), "-c",
                   str(CLIENTS), "-q", "EVALSHA", loaded.stdout.decode().strip(), str(len(KEYS)), *KEYS, *args]
        told = subprocess.run(command, check=True, capture_output=True, text=True,
                              errors="replace").stdout
        written = subprocess.run(self.command("xlen", KEYS[1]), check=True, capture_output=True, text=True).stdout
        if int(written) < CALLS * 0.99:
            sys.exit(f"Redis alone: {written} of {CALLS} charges were written")
        return float(re.findall(r"([\d.]+) requests per second", told)[-1]) * calls


def packed(words):
    """MessagePack of up to fifteen short strings, as lib/run reads it."""
    texts = [word.encode() for word in words]
    header = lambda text: bytes([0xA0 | len(text)] if len(text) < 32 else [0xD9, len(text)])
    return bytes([0x90 | len(texts)]) + b"".join(header(text) + text for text in texts)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
