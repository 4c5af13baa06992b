/** Notices a picture that stands still although its room is joined, so that the page joins anew. */

/** Longer than a camera's own reconnect, which the room survives: that needs no help of ours. */
export const STALL_CHECKS = 40;

/**
 * Counts checks in a row without a new frame. It counts checks, not time: a page in the background
 * is checked rarely and shows no frames, and must not find itself stalled when it is looked at again.
 */
export class StallWatch {
  #shown = -1;
  #still = 0;

  /**
   * @param shown frames shown so far.
   * @param expected whether frames should be coming now.
   * @returns true once per stall.
   */
  check(shown: number, expected: boolean): boolean {
    if (!expected || shown !== this.#shown) {
      this.#shown = shown;
      this.#still = 0;
      return false;
    }
    this.#still += 1;
    if (this.#still < STALL_CHECKS) return false;
    this.#still = 0;
    return true;
  }
}
