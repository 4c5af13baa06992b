/**
 * One stream for all tabs of one person: browsers open six connections to a host over HTTP/1.1, and
 * a stream per tab leaves none for the sixth tab to load by.
 *
 * The tab that holds a lock leads: it follows the stream, and tells the others by a channel. When it
 * goes, the browser gives the lock to the next tab, which resumes after the last event that it was
 * told. Lock and channel are named by who is signed in, so that no tab hears of what another may see.
 */

import { type FollowOptions, followEvents, readEvent, type StreamState } from './alarm-stream';
import type { ServerEvent } from './sse';

/** Changes with the messages: tabs of an older page stay among themselves. */
const VERSION = 1;

/** A leader speaks every 15 s, with each comment of the server's, and in 60 s at the latest where it
 * has no connection and the browser slows its timers down. One that the browser has frozen is silent. */
const LEADER_SILENCE_MS = 90_000;

/** What a tab needs of its browser. */
export interface Tabs {
  readonly request: LockManager['request'];
  readonly channel: (name: string) => BroadcastChannel;
}

export interface ShareOptions extends FollowOptions {
  /** Who is signed in: what may be told to other tabs that say the same. */
  readonly identity: string;
  readonly tabs: Tabs;
  readonly leaderSilenceMs?: number;
}

/** What a tab says: that it is new, or, as the leader, how the stream goes on. */
type Said =
  | { readonly kind: 'hello' }
  | {
      readonly kind: 'news';
      readonly state: StreamState;
      readonly after: string;
      readonly id: string;
      readonly events: readonly ServerEvent[];
    };

type News = Extract<Said, { kind: 'news' }>;

/** How a tab's wait for the lock, and its time as the leader, ended. */
type Outcome = 'over' | 'silence' | 'stolen';

/** Null where the browser has no locks: pages that came by plain HTTP from another machine. */
export function browserTabs(): Tabs | null {
  if (!navigator.locks || typeof BroadcastChannel === 'undefined') return null;
  return {
    request: navigator.locks.request.bind(navigator.locks),
    channel: (name) => new BroadcastChannel(name),
  };
}

/** As `followAlarms`, with one connection for all tabs of the same identity. */
export async function shareAlarms(options: ShareOptions): Promise<void> {
  const tab = new Tab(options);
  try {
    await tab.run();
  } finally {
    tab.close();
  }
}

class Tab {
  readonly #options: ShareOptions;
  readonly #name: string;
  readonly #channel: BroadcastChannel;
  #state: StreamState = 'connecting';
  /** Of the last event that was read here. */
  #position = '';
  /** Ends its time as the leader; null while it is none. */
  #leading: AbortController | null = null;
  #lead: Promise<void> = Promise.resolve();
  #onSilence: () => void = () => undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: ShareOptions) {
    this.#options = options;
    this.#name = `atalaia.alarms/${VERSION}/${options.identity}`;
    this.#channel = options.tabs.channel(this.#name);
    this.#channel.onmessage = (event: MessageEvent<Said>) => this.#hear(event.data);
  }

  async run(): Promise<void> {
    this.#say({ kind: 'hello' });
    let outcome: Outcome = 'stolen';
    while (outcome !== 'over') outcome = await this.#turn(outcome === 'silence');
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#channel.close();
  }

  /** Follows until the lock is this tab's, then leads. */
  async #turn(steal: boolean): Promise<Outcome> {
    const { signal, tabs } = this.#options;
    const silence = new AbortController();
    this.#onSilence = () => silence.abort();
    if (!steal) this.#listen();
    const wait = { signal: AbortSignal.any([signal, silence.signal]) };
    let granted = false;
    try {
      await tabs.request(this.#name, steal ? { steal } : wait, () => {
        granted = true;
        return this.#takeOver();
      });
      return 'over';
    } catch (error) {
      if (signal.aborted) return 'over';
      if (granted && !isAbort(error)) throw error;
    }
    if (silence.signal.aborted) return 'silence';
    if (granted) {
      // The lock is lost; the task that began with it is still at it.
      this.#leading?.abort();
      await this.#lead;
      return 'stolen';
    }
    // No lock is to be had, as where the browser keeps nothing for this site.
    await this.#takeOver();
    return 'over';
  }

  /** Returns when the page is closed, the lock is lost, or the API refuses. */
  #takeOver(): Promise<void> {
    clearTimeout(this.#timer);
    this.#leading = new AbortController();
    const signal = AbortSignal.any([this.#options.signal, this.#leading.signal]);
    const led = followEvents({
      ...this.#options,
      signal,
      from: this.#position,
      onState: (state) => this.#become(state),
      onBatch: ({ after, id, events }) => {
        this.#say({ kind: 'news', state: this.#state, after, id, events });
        for (const event of events) readEvent(event, this.#options);
        this.#position = id;
      },
    });
    this.#lead = led.finally(() => {
      this.#leading = null;
    });
    return this.#lead;
  }

  /** As the leader. Whether the API refuses the others too, they find out when it is their turn. */
  #become(state: StreamState): void {
    this.#state = state;
    this.#options.onState(state);
    if (state === 'refused') this.#channel.onmessage = null;
    else this.#tell();
  }

  #tell(): void {
    const at = this.#position;
    this.#say({ kind: 'news', state: this.#state, after: at, id: at, events: [] });
  }

  #say(said: Said): void {
    this.#channel.postMessage(said);
  }

  #hear(said: Said): void {
    if (this.#leading) {
      if (said.kind === 'hello') this.#tell();
    } else if (said.kind === 'news') {
      this.#listen();
      this.#follow(said);
    }
  }

  #follow({ state, after, id, events }: News): void {
    const { onGap, onState } = this.#options;
    const before = this.#position;
    // A frozen tab, or one whose leader began without knowing where the others were.
    if (before !== '' && isNewer(id, before) && (after === '' || isNewer(after, before))) onGap();
    for (const event of events) {
      // A new leader may have known less than this tab.
      if (event.type === 'gap' || isNewer(event.lastEventId, before)) {
        readEvent(event, this.#options);
      }
    }
    if (isNewer(id, before)) this.#position = id;
    if (state !== this.#state) {
      this.#state = state;
      onState(state);
    }
  }

  #listen(): void {
    clearTimeout(this.#timer);
    const ms = this.#options.leaderSilenceMs ?? LEADER_SILENCE_MS;
    this.#timer = setTimeout(() => this.#onSilence(), ms);
  }
}

/** Ids of events are two numbers, `<milliseconds>-<sequence>`; '' is older than all. */
export function isNewer(id: string, than: string): boolean {
  const [one, other] = [parts(id), parts(than)];
  return one[0] === other[0] ? one[1] > other[1] : one[0] > other[0];
}

function parts(id: string): readonly [bigint, bigint] {
  const [milliseconds = '', sequence = ''] = id.split('-');
  return id === '' ? [-1n, 0n] : [BigInt(milliseconds), BigInt(sequence || 0)];
}

function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}
