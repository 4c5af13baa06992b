/** A browser's locks and channels, and a server of events, for several tabs in one process. */

import type { Tabs } from '../../src/api/shared-stream';
import { alarmJson } from '../samples';

/** Lets everything that is ready happen: messages, locks and streams take a few turns. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setTimeout(resolve, 0));
}

interface Waiting {
  readonly begin: () => void;
}

interface Held {
  readonly end: () => void;
  readonly lose: () => void;
}

/** What tabs of one browser share. */
export class Browser {
  readonly channels = new Set<FakeChannel>();
  readonly #held = new Map<string, Held>();
  readonly #waiting = new Map<string, Waiting[]>();

  tab(): FakeTab {
    return new FakeTab(this);
  }

  grant(name: string, steal: boolean, owner: FakeTab, task: () => unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const begin = () => {
        const held: Held = {
          end: () => {
            if (this.#held.get(name) !== held) return;
            this.#held.delete(name);
            this.#waiting.get(name)?.shift()?.begin();
          },
          lose: () => reject(new DOMException('stolen', 'AbortError')),
        };
        this.#held.set(name, held);
        owner.held.add(held);
        Promise.resolve(task()).then(resolve, reject).finally(held.end);
      };
      if (steal) {
        const before = this.#held.get(name);
        begin();
        before?.lose();
      } else if (this.#held.has(name)) {
        this.wait(name, owner, begin, reject);
      } else begin();
    });
  }

  wait(name: string, owner: FakeTab, begin: () => void, reject: (error: unknown) => void): void {
    const queue = this.#waiting.get(name) ?? [];
    this.#waiting.set(name, queue);
    const waiting: Waiting = { begin };
    queue.push(waiting);
    owner.leave.push(() => {
      const at = queue.indexOf(waiting);
      if (at < 0) return;
      queue.splice(at, 1);
      reject(new DOMException('aborted', 'AbortError'));
    });
  }
}

class FakeChannel {
  onmessage: ((event: MessageEvent) => void) | null = null;
  constructor(
    readonly owner: FakeTab,
    readonly name: string,
  ) {
    owner.browser.channels.add(this);
  }

  postMessage(data: unknown): void {
    if (!this.owner.alive) return;
    const copy: unknown = structuredClone(data);
    for (const other of this.owner.browser.channels) {
      if (other === this || other.name !== this.name) continue;
      setTimeout(() => {
        if (other.owner.alive) other.onmessage?.({ data: copy } as MessageEvent);
      }, 0);
    }
  }

  close(): void {
    this.owner.browser.channels.delete(this);
  }
}

export class FakeTab implements Tabs {
  alive = true;
  readonly held = new Set<Held>();
  /** Takes the tab out of the queues it stands in. */
  readonly leave: (() => void)[] = [];

  constructor(readonly browser: Browser) {}

  readonly channel = (name: string) => new FakeChannel(this, name) as unknown as BroadcastChannel;

  readonly request = ((name: string, options: LockOptions, task: () => unknown) => {
    const { signal, steal = false } = options;
    signal?.addEventListener('abort', () => {
      for (const leave of this.leave.splice(0)) leave();
    });
    return this.browser.grant(name, steal, this, task);
  }) as LockManager['request'];

  /** As the browser ends a tab's process: it says nothing more, and its locks are free. */
  crash(): void {
    this.alive = false;
    for (const leave of this.leave.splice(0)) leave();
    for (const held of this.held) held.end();
  }
}

/** A tenant's stream of alarms: `alarms[n]` has the id `n+1`. */
export class Server {
  readonly alarms: string[] = [];
  /** Ids that clients resumed from, in order. */
  readonly asked: string[] = [];
  readonly #open = new Set<ReadableStreamDefaultController<Uint8Array>>();

  get connections(): number {
    return this.#open.size;
  }

  readonly open = async (lastEventId: string, signal: AbortSignal) => {
    this.asked.push(lastEventId);
    const start = lastEventId === '' ? this.alarms.length : Number(lastEventId.split('-')[0]);
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#open.add(controller);
        signal.addEventListener('abort', () => {
          if (this.#open.delete(controller)) controller.error(signal.reason);
        });
        send(controller, `id: ${start}-0\n\n`);
        this.alarms.slice(start).forEach((id, index) => {
          send(controller, event(id, start + index + 1));
        });
      },
    });
  };

  raise(id: string): void {
    this.alarms.push(id);
    this.#send(event(id, this.alarms.length));
  }

  gap(): void {
    this.#send('event: gap\ndata: {}\n\n');
  }

  /** As when the API restarts. */
  hangUp(): void {
    for (const controller of this.#open) controller.close();
    this.#open.clear();
  }

  #send(text: string): void {
    for (const controller of this.#open) send(controller, text);
  }
}

function send(controller: ReadableStreamDefaultController<Uint8Array>, text: string): void {
  controller.enqueue(new TextEncoder().encode(text));
}

function event(id: string, number: number): string {
  return `event: alarm\nid: ${number}-0\ndata: ${JSON.stringify(alarmJson({ id }))}\n\n`;
}
