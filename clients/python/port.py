"""The port of lockbench, version 1, around a library: a thread for each request."""

import json
import sys
import threading
import traceback

_saying = threading.Lock()


def say(type, **fields):
    line = json.dumps({"type": type, **fields}) + "\n"
    with _saying:
        sys.stdout.write(line)
        sys.stdout.flush()


def serve(promises, library, acquire, release, requests=None):
    """Speaks until it is told to close.

    acquire(key, within_s) returns what is held and the fields of `granted`, or None when the time is over and nothing can follow;
    release(held) returns whether it was held until then. What either raises leaves the outcome unknown. requests() counts.
    """
    held = {}
    turn = threading.Lock()

    def take(id, key, within_s):
        try:
            granted = acquire(key, within_s)
        except Exception as error:
            traceback.print_exc()
            say("unknown", id=id, why=f"{type(error).__name__}: {error}")
            return
        if granted is None:
            say("timed-out", id=id)
            return
        hold, fields = granted
        with turn:
            held[id] = hold
        say("granted", id=id, **fields)

    def give_back(id):
        with turn:
            hold = held.get(id)
        try:
            # After unknown there is nothing to give back by: what may stand ends with its lease.
            released = hold is not None and release(hold)
        except Exception as error:
            traceback.print_exc()
            say("unknown", id=id, why=f"{type(error).__name__}: {error}")
            return
        with turn:
            held.pop(id, None)
        say("released" if released else "already-lost", id=id)

    def in_background(work, *args):
        threading.Thread(target=work, args=args, daemon=True).start()

    say("hello", version=1, capabilities=promises, library=library)
    for line in sys.stdin:
        told = json.loads(line)
        if told["type"] == "acquire":
            in_background(take, told["id"], told["keys"][0], told["within_ms"] / 1000)
        elif told["type"] == "release":
            in_background(give_back, told["id"])
        elif told["type"] == "counts":
            say("counts", requests=requests(), connections=0)
        elif told["type"] == "close":
            break
    with turn:
        holds = list(held.values())
    for hold in holds:
        try:
            release(hold)
        except Exception:
            traceback.print_exc()
