// The port of lockbench, version 1, around a library.

import { createInterface } from 'node:readline';

export const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

// Speaks until it is told to close. acquire(key, withinMs) is what is held and the fields of `granted`, or nothing when the time is over
// and no grant can follow; release(held) whether it was held until then. What either throws leaves the outcome unknown.
export async function serve(capabilities, library, acquire, release) {
  const held = new Map();

  const unknown = (id, error) => {
    console.error(error);
    say({ type: 'unknown', id, why: String(error) });
  };

  async function take({ id, keys: [key], within_ms: withinMs }) {
    try {
      const granted = await acquire(key, withinMs);
      if (!granted) return say({ type: 'timed-out', id });
      held.set(id, granted[0]);
      return say({ type: 'granted', id, ...granted[1] });
    } catch (error) {
      return unknown(id, error);
    }
  }

  async function giveBack(id) {
    try {
      // After unknown there is nothing to give back by: what may stand ends with its lease.
      const released = held.has(id) && (await release(held.get(id)));
      held.delete(id);
      say({ type: released ? 'released' : 'already-lost', id });
    } catch (error) {
      unknown(id, error);
    }
  }

  say({ type: 'hello', version: 1, capabilities, library });
  for await (const line of createInterface({ input: process.stdin })) {
    const told = JSON.parse(line);
    if (told.type === 'acquire') take(told);
    else if (told.type === 'release') giveBack(told.id);
    else if (told.type === 'close') break;
  }
  await Promise.allSettled([...held.values()].map(release));
}
