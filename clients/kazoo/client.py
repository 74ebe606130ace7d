"""kazoo's Lock as a contender of lockbench."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "lib"), os.path.join(HERE, "..", "python")]

import port  # noqa: E402
from kazoo.client import KazooClient  # noqa: E402
from kazoo.exceptions import LockTimeout  # noqa: E402
from kazoo.protocol.states import KazooState  # noqa: E402
from kazoo.version import __version__  # noqa: E402

TTL_S = int(os.environ["LOCKBENCH_TTL_MS"]) / 1000
hosts = os.environ["LOCKBENCH_ENDPOINT"].removeprefix("zookeeper://")
client = KazooClient(hosts=hosts, timeout=TTL_S)


def watch(state):
    # SUSPENDED is doubt; the session has ended only when the server says so, which it can once it is reached again.
    if state == KazooState.LOST:
        port.say("lost", why="the session has expired")


def acquire(key, within_s):
    # Any text is a name: a slash would make one key another's folder.
    lock = client.Lock("/lockbench/" + key.encode().hex(), os.environ["LOCKBENCH_NODE"])
    # Its own number of the session: after another one what it held is gone.
    session = client.client_id
    try:
        taken = lock.acquire(timeout=within_s) if within_s > 0 else lock.acquire(blocking=False)
    except LockTimeout:
        return None
    return ((lock, session), {}) if taken else None


def release(held):
    lock, session = held
    # It does not say that there was nothing to delete; after its session, there was not.
    return bool(lock.release()) and client.client_id == session


client.add_listener(watch)
client.start(timeout=15)
port.serve(
    {"fair": True, "waits": True, "lease": True, "reports_loss": True}, f"kazoo {__version__}", acquire, release
)
client.stop()
