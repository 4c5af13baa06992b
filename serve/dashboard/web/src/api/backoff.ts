/** Waits between tries: doubled each time, capped, with jitter so that pages do not come back at once. */

export interface BackoffOptions {
  readonly initialMs: number;
  readonly maxMs: number;
  /** 0 up to, not including, 1. */
  readonly random?: () => number;
}

export class Backoff {
  #failures = 0;
  readonly #options: BackoffOptions;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  get failures(): number {
    return this.#failures;
  }

  /** How long to wait before the next try: half fixed, half random. */
  nextMs(): number {
    const { initialMs, maxMs, random = Math.random } = this.#options;
    const full = Math.min(maxMs, initialMs * 2 ** Math.min(this.#failures, 16));
    this.#failures += 1;
    return full / 2 + (full / 2) * random();
  }

  /** Call after a success. */
  reset(): void {
    this.#failures = 0;
  }
}

/** Resolves after `ms`, or at once when the signal aborts. Never rejects. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
  });
}
