"""python-redis-lock as a contender of lockbench: its thread renews."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "lib"), os.path.join(HERE, "..", "python")]

import port  # noqa: E402
import redis  # noqa: E402
import redis_lock  # noqa: E402

# Whole seconds are all that it knows.
TTL_S = max(1, -(-int(os.environ["LOCKBENCH_TTL_MS"]) // 1000))
client = redis.StrictRedis.from_url(os.environ["LOCKBENCH_ENDPOINT"])


def acquire(key, within_s):
    lock = redis_lock.Lock(client, key, expire=TTL_S, auto_renewal=True)
    # A timeout of less than a second would be none at all.
    taken = lock.acquire(timeout=max(1, int(within_s))) if within_s > 0 else lock.acquire(blocking=False)
    return (lock, {}) if taken else None


def release(lock):
    try:
        lock.release()
        return True
    except redis_lock.NotAcquired:
        return False


client.ping()
port.serve({"waits": True, "lease": True}, f"python-redis-lock {redis_lock.__version__}", acquire, release)
