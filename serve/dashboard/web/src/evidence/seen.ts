/** Which of the boxes beside a clip belong on the picture that is shown. */

import type { SeenBox, SeenFrame } from '../domain/types';

/** As the API's WebVTT has it: where nothing was looked at for longer, old boxes would lie. */
export const HOLD_S = 0.5;
/** Players round times of frames; frames are at least 33 ms apart. */
const ROUNDING_S = 0.002;

/** The boxes of the last frame that was looked at, up to the shown one; none where it is too old. */
export function boxesAt(frames: readonly SeenFrame[], shownS: number): readonly SeenBox[] {
  let low = 0;
  let high = frames.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((frames[middle]?.t ?? Number.POSITIVE_INFINITY) <= shownS + ROUNDING_S) low = middle + 1;
    else high = middle;
  }
  const frame = frames[low - 1];
  return frame && shownS - frame.t < HOLD_S ? frame.boxes : [];
}
