// node-redlock as a contender of lockbench, with one Redis.

import { Redis } from 'ioredis';
import Redlock from 'redlock';
import { serve } from '../node/port.mjs';

const ttlMs = Number(process.env.LOCKBENCH_TTL_MS);
// A request of which nobody hears is not sent once more: it would be told as if nothing had been under way.
const redis = new Redis(process.env.LOCKBENCH_ENDPOINT, { maxRetriesPerRequest: 0, lazyConnect: true });
redis.on('error', (error) => console.error(error.message));
// Of a request that names none its own number of tries counts: at most one.
const redlock = new Redlock([redis], { retryCount: 0 });
let failures = 0;
redlock.on('clientError', (error) => {
  failures += 1;
  console.error(error.message);
});

async function acquire(key, withinMs) {
  const before = failures;
  // It knows no deadline: as many tries as fit before it at the pause that it takes between them.
  const retryCount = Math.floor(withinMs / redlock.retryDelay);
  try {
    const lock = await redlock.acquireWithOptions(key, ttlMs, { retryCount });
    return [lock, { valid_ms: Math.max(0, lock.expiration - Date.now()) }];
  } catch (error) {
    // It has taken back what it may have set, where it could be reached.
    if (error.name === 'LockError' && failures === before) return undefined;
    throw error;
  }
}

async function release(lock) {
  const before = failures;
  try {
    await lock.unlock();
    return true;
  } catch (error) {
    if (error.name === 'LockError' && failures === before) return false;
    throw error;
  }
}

await redis.connect();
await serve({ waits: true, lease: true }, 'node-redlock 4.2.0', acquire, release);
process.exit(0);
