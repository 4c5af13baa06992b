/** Counts what became of each analysed frame, and how late its boxes came. */

export interface MatchCounts {
  /** Shown with its own boxes. */
  readonly exact: number;
  /** Shown before its boxes came. */
  readonly late: number;
  /** Never shown on this page: lost on the way, or passed over by the display. */
  readonly unseen: number;
}

interface Seen {
  presentedMs: number | null;
  arrivedMs: number | null;
  shown: 'no' | 'exact' | 'plain';
}

/** 256 frames are 10 s at 25 per second. */
const MEMORY = 256;

export class MatchStats {
  #frames = new Map<number, Seen>();
  #counts = { exact: 0, late: 0, unseen: 0 };
  readonly #onLateness: (ms: number) => void;

  /** @param onLateness told once per analysed frame that was presented: boxes minus frame, ms. */
  constructor(onLateness: (ms: number) => void) {
    this.#onLateness = onLateness;
  }

  get counts(): MatchCounts {
    return { ...this.#counts };
  }

  /** Of the analysed frames that were shown, the share that had their boxes; null before any. */
  get exactFraction(): number | null {
    const { exact, late } = this.#counts;
    return exact + late > 0 ? exact / (exact + late) : null;
  }

  /** The browser had the frame ready to be shown. */
  presented(captureUs: number, nowMs: number): void {
    const seen = this.#seen(captureUs);
    if (seen.presentedMs !== null) return;
    seen.presentedMs = nowMs;
    if (seen.arrivedMs !== null) this.#onLateness(seen.arrivedMs - nowMs);
  }

  /** Its boxes came. */
  arrived(captureUs: number, nowMs: number): void {
    const seen = this.#seen(captureUs);
    if (seen.arrivedMs !== null) return;
    seen.arrivedMs = nowMs;
    if (seen.presentedMs !== null) this.#onLateness(nowMs - seen.presentedMs);
    if (seen.shown === 'plain') this.#counts.late += 1;
  }

  /** It was painted, with or without its own boxes. */
  shown(captureUs: number, exact: boolean): void {
    const seen = this.#seen(captureUs);
    if (seen.shown !== 'no') return;
    seen.shown = exact ? 'exact' : 'plain';
    if (exact) this.#counts.exact += 1;
  }

  /** Forgets the frames, keeps the counts: call it when another stream begins. */
  forget(): void {
    this.#frames.clear();
  }

  #seen(captureUs: number): Seen {
    let seen = this.#frames.get(captureUs);
    if (!seen) {
      seen = { presentedMs: null, arrivedMs: null, shown: 'no' };
      this.#frames.set(captureUs, seen);
      if (this.#frames.size > MEMORY) this.#dropOldest();
    }
    return seen;
  }

  #dropOldest(): void {
    for (const [key, seen] of this.#frames) {
      if (seen.arrivedMs !== null && seen.shown === 'no') this.#counts.unseen += 1;
      this.#frames.delete(key);
      return;
    }
  }
}
