"""redis-py's Lock as a contender of lockbench."""

import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "lib"), os.path.join(HERE, "..", "python")]

import port  # noqa: E402
import redis  # noqa: E402
from redis.exceptions import LockNotOwnedError  # noqa: E402

TTL_S = int(os.environ["LOCKBENCH_TTL_MS"]) / 1000
client = redis.Redis.from_url(os.environ["LOCKBENCH_ENDPOINT"])


def acquire(key, within_s):
    # Not bound to a thread: whoever gives it back is another one.
    lock = client.lock(key, timeout=TTL_S, thread_local=False)
    begun = time.monotonic()
    if not lock.acquire(blocking=within_s > 0, blocking_timeout=within_s):
        return None
    # The library does not say when the SET that took it was sent: what it may have slept before counts too, up to its own pause.
    since = min(time.monotonic() - begun, lock.sleep)
    return lock, {"valid_ms": max(0, int((TTL_S * 0.99 - since) * 1000))}


def release(lock):
    try:
        lock.release()
        return True
    except LockNotOwnedError:
        return False


client.ping()
port.serve({"waits": True, "lease": True}, f"redis-py {redis.__version__}", acquire, release)
