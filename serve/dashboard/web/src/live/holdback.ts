/**
 * How long the picture is held back so that the boxes of a frame are there when it is shown.
 *
 * Detections come 22 ms (median) to 39 ms (95th percentile) after their frame reached a page on the
 * same machine as the cluster, with 40 ms of detection; the wait follows what is measured. It ends
 * at 250 ms: a machine whose cores are all taken needs 230 (median), and boxes beside what they
 * belong to are worse than a picture that is a quarter of a second old.
 */

export const MAX_HOLD_MS = 250;
const INITIAL_HOLD_MS = 60;
/** 50 analysed frames: 10 s at 5 per second. */
const WINDOW = 50;
/** Above the 95th percentile by half a display frame of 60 Hz. */
const MARGIN_MS = 8;
/** Per shown frame: up fast, since boxes are missed meanwhile; down too slowly to be seen. */
const RISE_MS = 6;
const FALL_MS = 0.5;

export class HoldBack {
  #lateness: number[] = [];
  #holdMs = INITIAL_HOLD_MS;

  /** @param ms arrival of the boxes minus presentation of their frame; below 0 when they were first. */
  observe(ms: number): void {
    this.#lateness.push(ms);
    if (this.#lateness.length > WINDOW) this.#lateness.shift();
  }

  get currentMs(): number {
    return this.#holdMs;
  }

  get targetMs(): number {
    if (this.#lateness.length < 3) return INITIAL_HOLD_MS;
    return Math.min(MAX_HOLD_MS, Math.max(0, percentile(this.#lateness, 0.95) + MARGIN_MS));
  }

  /** The p-th quantile of what was observed last, in milliseconds; null before anything was. */
  latenessMs(p: number): number | null {
    return this.#lateness.length > 0 ? percentile(this.#lateness, p) : null;
  }

  /** Moves one step towards the target; call it once per shown frame. */
  step(): number {
    const gap = this.targetMs - this.#holdMs;
    this.#holdMs += Math.max(-FALL_MS, Math.min(RISE_MS, gap));
    return this.#holdMs;
  }

  reset(): void {
    this.#lateness = [];
    this.#holdMs = INITIAL_HOLD_MS;
  }
}

/** Nearest-rank quantile of a list that is not empty. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const rank = Math.min(sorted.length - 1, Math.max(0, Math.ceil(p * sorted.length) - 1));
  return sorted[rank] ?? 0;
}
