"""A lock on Redis that speaks the port of lockbench, version 1."""

import json
import os
import socket
import sys
import threading
import time
import uuid
from urllib.parse import unquote, urlsplit

ENDPOINT = urlsplit(os.environ["LOCKBENCH_ENDPOINT"])
TTL_MS = int(os.environ["LOCKBENCH_TTL_MS"])
PROMISES = {"waits": True, "lease": True, "counts": True}

POLL_S = 0.02
DELETE_OWN = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class Redis:
    """One connection, one request at a time. Put your library in its place."""

    def __init__(self):
        self.turn = threading.Lock()
        self.file = None
        self.requests = 0

    def ask(self, *words):
        with self.turn:
            try:
                if self.file is None:
                    link = socket.create_connection((ENDPOINT.hostname, ENDPOINT.port), timeout=2)
                    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.file = link.makefile("rwb")
                    if ENDPOINT.password:
                        self.send("AUTH", *filter(None, [unquote(ENDPOINT.username or "")]), unquote(ENDPOINT.password))
                self.requests += 1
                return self.send(*words)
            except OSError:
                self.file = None
                raise

    def send(self, *words):
        words = [str(word).encode() for word in words]
        self.file.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        self.file.flush()
        line = self.file.readline()
        if not line:
            raise ConnectionError("Redis has closed the connection")
        kind, rest = line[:1], line[1:].strip()
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"$" and rest != b"-1":
            return self.file.read(int(rest) + 2)[:-2].decode()
        return None if kind == b"$" else rest.decode()


redis = Redis()
saying = threading.Lock()
held = {}  # id -> (key, owner): what is held, or may be


def say(**message):
    with saying:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def take(id, key, within_ms):
    deadline = time.monotonic() + within_ms / 1000
    owner = str(uuid.uuid4())
    held[id] = (key, owner)
    try:
        while True:
            asked = time.monotonic()
            if redis.ask("SET", key, owner, "NX", "PX", TTL_MS) == "OK":
                # Counted from before it was asked for.
                valid_ms = max(0, int(TTL_MS * 0.99 - (time.monotonic() - asked) * 1000))
                return say(type="granted", id=id, valid_ms=valid_ms)
            left = deadline - time.monotonic()
            if left <= 0:
                held.pop(id)
                return say(type="timed-out", id=id)
            time.sleep(min(POLL_S, left))
    except Exception as error:
        # It may have been taken all the same: `release` will be asked for.
        say(type="unknown", id=id, why=str(error))


def give_back(id):
    key, owner = held.get(id, (None, None))
    try:
        released = key is not None and redis.ask("EVAL", DELETE_OWN, 1, key, owner) == "1"
        held.pop(id, None)
        say(type="released" if released else "already-lost", id=id)
    except Exception as error:
        say(type="unknown", id=id, why=str(error))


def in_background(work, *args):
    threading.Thread(target=work, args=args, daemon=True).start()


redis.ask("PING")
say(type="hello", version=1, capabilities=PROMISES, library="SET NX PX in Python")
for line in sys.stdin:
    told = json.loads(line)
    if told["type"] == "acquire":
        in_background(take, told["id"], told["keys"][0], told["within_ms"])
    elif told["type"] == "release":
        in_background(give_back, told["id"])
    elif told["type"] == "counts":
        say(type="counts", requests=redis.requests, connections=1)
    elif told["type"] == "close":
        break
for key, owner in list(held.values()):
    redis.ask("EVAL", DELETE_OWN, 1, key, owner)
