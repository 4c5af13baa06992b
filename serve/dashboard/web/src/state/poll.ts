/** Asks again and again, but only while somebody can see the page. */

import { Backoff, sleep } from '../api/backoff';

export interface PollOptions {
  readonly everyMs: number;
  /** One ask. What it throws is its own to tell; the next try comes after a longer wait. */
  readonly ask: (signal: AbortSignal) => Promise<void>;
  readonly onError: (error: unknown) => void;
  readonly signal: AbortSignal;
}

export async function poll({ everyMs, ask, onError, signal }: PollOptions): Promise<void> {
  const backoff = new Backoff({ initialMs: everyMs, maxMs: 15_000 });
  while (!signal.aborted) {
    await untilVisible(signal);
    if (signal.aborted) return;
    let waitMs = everyMs;
    try {
      await ask(signal);
      backoff.reset();
    } catch (error) {
      if (signal.aborted) return;
      onError(error);
      waitMs = backoff.nextMs();
    }
    await sleep(waitMs, signal);
  }
}

export function untilVisible(signal: AbortSignal): Promise<void> {
  if (document.visibilityState === 'visible') return Promise.resolve();
  return new Promise((resolve) => {
    const stop = new AbortController();
    const done = () => {
      if (document.visibilityState !== 'visible' && !signal.aborted) return;
      stop.abort();
      resolve();
    };
    document.addEventListener('visibilitychange', done, { signal: stop.signal });
    signal.addEventListener('abort', done, { signal: stop.signal });
  });
}
