// A lock on Redis that speaks the port of lockbench, version 1.

import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const endpoint = new URL(process.env.LOCKBENCH_ENDPOINT);
const ttlMs = Number(process.env.LOCKBENCH_TTL_MS);
const promises = { waits: true, lease: true, counts: true };

const POLL_MS = 20;
const DELETE_OWN = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

// One connection; answers come in the order of the requests. Put your library in its place.
class Redis {
  requests = 0;
  #link = null;
  #waiting = [];

  async ask(...words) {
    if (!this.#link) this.#open();
    this.requests += 1;
    return this.#send(words);
  }

  #open() {
    const link = connect({ host: endpoint.hostname, port: Number(endpoint.port), noDelay: true });
    const lost = (why) => {
      if (this.#link !== link) return;
      this.#link = null;
      for (const { reject } of this.#waiting.splice(0)) reject(new Error(why));
    };
    link.on('error', (error) => lost(error.message)).on('close', () => lost('Redis has closed the connection'));
    let text = '';
    link.setEncoding('utf8').on('data', (data) => {
      text += data;
      for (;;) {
        const end = text.indexOf('\r\n');
        if (end < 0) return;
        const [kind, rest] = [text[0], text.slice(1, end)];
        let used = end + 2;
        let value = rest;
        if (kind === '$' && rest === '-1') value = null;
        else if (kind === '$') {
          value = text.slice(used, used + Number(rest));
          used += Number(rest) + 2;
          if (text.length < used) return;
        }
        text = text.slice(used);
        const { resolve, reject } = this.#waiting.shift();
        if (kind === '-') reject(new Error(rest));
        else resolve(value);
      }
    });
    this.#link = link;
    if (endpoint.password) {
      const words = [endpoint.username, endpoint.password].filter(Boolean).map(decodeURIComponent);
      this.#send(['AUTH', ...words]).catch((error) => console.error(error.message));
    }
  }

  #send(words) {
    const parts = words.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#link.write(`*${words.length}\r\n${parts.join('')}`);
    });
  }
}

const redis = new Redis();
const held = new Map(); // id -> [key, owner]: what is held, or may be

const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

async function take({ id, keys: [key], within_ms: withinMs }) {
  const deadline = performance.now() + withinMs;
  const owner = randomUUID();
  held.set(id, [key, owner]);
  try {
    for (;;) {
      const asked = performance.now();
      if ((await redis.ask('SET', key, owner, 'NX', 'PX', ttlMs)) === 'OK') {
        // Counted from before it was asked for.
        const validMs = Math.max(0, Math.floor(ttlMs * 0.99 - (performance.now() - asked)));
        return say({ type: 'granted', id, valid_ms: validMs });
      }
      const left = deadline - performance.now();
      if (left <= 0) {
        held.delete(id);
        return say({ type: 'timed-out', id });
      }
      await sleep(Math.min(POLL_MS, left));
    }
  } catch (error) {
    // It may have been taken all the same: `release` will be asked for.
    return say({ type: 'unknown', id, why: error.message });
  }
}

async function giveBack(id) {
  try {
    const [key, owner] = held.get(id) ?? [];
    const released = key !== undefined && (await redis.ask('EVAL', DELETE_OWN, 1, key, owner)) === '1';
    held.delete(id);
    say({ type: released ? 'released' : 'already-lost', id });
  } catch (error) {
    say({ type: 'unknown', id, why: error.message });
  }
}

await redis.ask('PING');
say({ type: 'hello', version: 1, capabilities: promises, library: 'SET NX PX in JavaScript' });
for await (const line of createInterface({ input: process.stdin })) {
  const told = JSON.parse(line);
  if (told.type === 'acquire') take(told);
  else if (told.type === 'release') giveBack(told.id);
  else if (told.type === 'counts') say({ type: 'counts', requests: redis.requests, connections: 1 });
  else if (told.type === 'close') break;
}
for (const [key, owner] of held.values()) await redis.ask('EVAL', DELETE_OWN, 1, key, owner);
process.exit(0);
