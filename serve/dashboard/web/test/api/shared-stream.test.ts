import { afterEach, describe, expect, it, vi } from 'vitest';
import type { StreamState } from '../../src/api/alarm-stream';
import { ApiError } from '../../src/api/errors';
import { isNewer, type ShareOptions, shareAlarms } from '../../src/api/shared-stream';
import { Browser, type FakeTab, Server, settle } from './browser';

const opened: Page[] = [];

afterEach(() => {
  for (const page of opened.splice(0)) page.close();
});

class Page {
  readonly alarms: string[] = [];
  readonly states: StreamState[] = [];
  readonly done: Promise<void>;
  gaps = 0;
  /** Alarms that there were when the page first knew that the stream is open. */
  since: number | null = null;
  readonly #abort = new AbortController();

  constructor(
    server: Server,
    readonly tab: FakeTab,
    changes: Partial<ShareOptions> = {},
  ) {
    opened.push(this);
    this.done = shareAlarms({
      open: server.open,
      onAlarm: ({ id }) => this.alarms.push(id),
      onGap: () => {
        this.gaps += 1;
      },
      onState: (state) => {
        this.states.push(state);
        if (state === 'open') this.since ??= server.alarms.length;
      },
      onBadEvent: (error) => {
        throw error;
      },
      sleep: async () => settle(),
      signal: this.#abort.signal,
      identity: 'user/acme/ana',
      tabs: tab,
      ...changes,
    });
  }

  close(): void {
    this.#abort.abort();
  }

  /** The server notices by itself, later: its connection of a dead process is not counted. */
  crash(): void {
    this.tab.crash();
    this.close();
  }
}

/** Pages of one person, the first of which leads. */
async function pages(server: Server, count: number, changes: Partial<ShareOptions> = {}) {
  const browser = new Browser();
  const all: Page[] = [];
  for (let number = 0; number < count; number += 1) {
    all.push(new Page(server, browser.tab(), changes));
    await settle();
  }
  return all as [Page, ...Page[]];
}

describe('tabs of one person', () => {
  it('hold one connection and are told each alarm once', async () => {
    const server = new Server();
    const all = await pages(server, 8);
    server.raise('a');
    server.raise('b');
    await settle();
    expect(server.connections).toBe(1);
    for (const page of all) expect(page.alarms).toEqual(['a', 'b']);
    for (const page of all) expect(page.states.at(-1)).toBe('open');
  });

  it.each(['close', 'crash'] as const)('go on where the leader %ss', async (ending) => {
    const server = new Server();
    const [leader, ...others] = await pages(server, 3);
    server.raise('a');
    await settle();
    leader[ending]();
    server.raise('b');
    await settle();
    server.raise('c');
    await settle();
    expect(server.asked).toEqual(['', '1-0']);
    for (const page of others) expect(page.alarms).toEqual(['a', 'b', 'c']);
    for (const page of others) expect(page.gaps).toBe(0);
    expect(leader.alarms).toEqual(['a']);
  });

  it('resume from where the stream was opened when the leader ends before any alarm', async () => {
    const server = new Server();
    server.raise('before');
    const [leader, other] = await pages(server, 2);
    leader.close();
    server.raise('a');
    await settle();
    expect(server.asked).toEqual(['', '1-0']);
    expect(other?.alarms).toEqual(['a']);
  });

  it('ask again for what the leader was sent and did not tell', async () => {
    const server = new Server();
    const [leader, ...others] = await pages(server, 3);
    leader.tab.alive = false;
    server.raise('a');
    await settle();
    leader.crash();
    await settle();
    for (const page of others) expect(page.alarms).toEqual(['a']);
  });

  it('need no other once they are alone', async () => {
    const server = new Server();
    const [first, second] = await pages(server, 2);
    second?.close();
    await second?.done;
    server.raise('a');
    await settle();
    expect(first.alarms).toEqual(['a']);
    first.close();
    await first.done;
    expect(server.connections).toBe(0);
  });

  it('are told of a lost connection and of what is missing', async () => {
    const server = new Server();
    const [, other] = await pages(server, 2);
    server.hangUp();
    await settle();
    await settle();
    server.gap();
    await settle();
    expect(other?.states).toEqual(['open', 'waiting', 'connecting', 'open']);
    expect(other?.gaps).toBe(1);
  });

  it('of two persons, or two keys, share nothing', async () => {
    const [acme, globex] = [new Server(), new Server()];
    const browser = new Browser();
    const ana = new Page(acme, browser.tab());
    const bob = new Page(globex, browser.tab(), { identity: 'user/globex/bob' });
    await settle();
    acme.raise('a');
    globex.raise('b');
    await settle();
    ana.close();
    await settle();
    acme.raise('later');
    globex.raise('c');
    await settle();
    expect(ana.alarms).toEqual(['a']);
    expect(bob.alarms).toEqual(['b', 'c']);
    expect(acme.connections).toBe(0);
  });
});

describe('a leader', () => {
  it('that says nothing any more is replaced, and follows when it wakes up', async () => {
    const server = new Server();
    const browser = new Browser();
    const frozen = new Page(server, browser.tab());
    await settle();
    const other = new Page(server, browser.tab(), { leaderSilenceMs: 1 });
    await vi.waitFor(() => expect(server.asked).toHaveLength(2));
    await settle();
    server.raise('a');
    await settle();
    expect(server.connections).toBe(1);
    expect([frozen.alarms, other.alarms]).toEqual([['a'], ['a']]);
  });

  it('that the API refuses leaves it to the others to ask', async () => {
    const server = new Server();
    const browser = new Browser();
    const refused = new Page(server, browser.tab(), {
      open: async () => {
        throw new ApiError('forbidden');
      },
    });
    const other = new Page(server, browser.tab());
    await settle();
    await refused.done;
    server.raise('a');
    await settle();
    expect(refused.states.at(-1)).toBe('refused');
    expect(other.alarms).toEqual(['a']);
  });

  it('is not needed where the browser refuses locks', async () => {
    const server = new Server();
    const tab = new Browser().tab();
    const page = new Page(server, tab, {
      tabs: {
        channel: tab.channel,
        request: (async () => {
          throw new DOMException('storage is blocked', 'SecurityError');
        }) as LockManager['request'],
      },
    });
    await settle();
    server.raise('a');
    await settle();
    expect(page.alarms).toEqual(['a']);
  });

  it('that began elsewhere than a tab has been makes the tab load what is missing', async () => {
    const server = new Server();
    const browser = new Browser();
    const page = new Page(server, browser.tab());
    await settle();
    server.raise('a');
    await settle();
    const frozen = new Page(server, browser.tab());
    await settle();
    // As a tab that was frozen: it hears of the third alarm, and never heard of the second.
    frozen.tab.alive = false;
    server.raise('b');
    await settle();
    frozen.tab.alive = true;
    server.raise('c');
    await settle();
    expect(page.gaps).toBe(0);
    expect(frozen.gaps).toBe(1);
    expect(frozen.alarms).toEqual(['c']);
  });
});

/** Numbers from a seed, as everywhere the same (mulberry32). */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

describe('whatever tabs do', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('each alarm is told once, seed %i', async (seed) => {
    const pick = random(seed);
    const server = new Server();
    const browser = new Browser();
    const alive: Page[] = [];
    for (let step = 0; step < 60; step += 1) {
      const action = pick(10);
      if (action < 2 && alive.length < 8) alive.push(new Page(server, browser.tab()));
      else if (action === 2) alive.splice(pick(alive.length || 1), 1)[0]?.close();
      else if (action === 3) alive.splice(pick(alive.length || 1), 1)[0]?.crash();
      else if (action === 4) server.hangUp();
      else if (action === 5) await settle();
      else server.raise(`${seed}.${step}`);
    }
    await settle();
    await settle();
    for (const page of alive) {
      expect(page.since).not.toBeNull();
      const raised = server.alarms.slice(page.since ?? 0);
      expect(page.alarms.slice(page.alarms.length - raised.length)).toEqual(raised);
      expect(new Set(page.alarms).size).toBe(page.alarms.length);
      expect(page.gaps).toBe(0);
    }
    expect(server.connections).toBe(Math.min(1, alive.length));
  });
});

describe('isNewer', () => {
  it.each([
    ['10-0', '9-0', true],
    ['9-10', '9-9', true],
    ['9-9', '9-10', false],
    ['9-0', '9-0', false],
    ['0-0', '', true],
    ['', '0-0', false],
    ['', '', false],
    ['7', '6-5', true],
  ])('%s than %s: %s', (one, other, newer) => {
    expect(isNewer(one, other)).toBe(newer);
  });
});
