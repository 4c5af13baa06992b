/** Frames that wait for their moment, oldest first. It owns them: what leaves it unseen is closed. */

export interface HeldFrame {
  /** When the browser had it ready, on the clock of performance.now(). */
  readonly presentedMs: number;
  close(): void;
}

/** 250 ms at 30 frames per second, and one more; hardware decoders own few pictures. */
export const CAPACITY = 9;

export class FrameRing<Frame extends HeldFrame> {
  #frames: Frame[] = [];
  #passedOver = 0;

  get length(): number {
    return this.#frames.length;
  }

  /** Frames that were never taken since a later one was due, or since there was no room. */
  get passedOver(): number {
    return this.#passedOver;
  }

  push(frame: Frame): void {
    this.#frames.push(frame);
    if (this.#frames.length > CAPACITY) this.#drop();
  }

  /**
   * The newest frame that was ready at `readyMs` or before; the older ones are closed. Where there is
   * no room for another, the oldest counts as due: at 60 frames per second none would ever be, else.
   * The caller closes it.
   */
  take(readyMs: number): Frame | null {
    let due = this.#frames.length === CAPACITY ? 1 : 0;
    while (due < this.#frames.length && (this.#frames[due]?.presentedMs ?? 0) <= readyMs) due += 1;
    if (due === 0) return null;
    for (let i = 1; i < due; i += 1) this.#drop();
    return this.#frames.shift() ?? null;
  }

  clear(): void {
    for (const frame of this.#frames) frame.close();
    this.#frames = [];
  }

  #drop(): void {
    this.#frames.shift()?.close();
    this.#passedOver += 1;
  }
}
