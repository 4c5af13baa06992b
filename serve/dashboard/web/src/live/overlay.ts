/**
 * Which boxes belong on a frame. The rule of this module: a box is called exact only on the very
 * frame that it was computed on, told by capture time; whatever else is drawn says what it is.
 */

import type { Box } from '../domain/types';
import type { Analysed, TrackBox } from './detections';

export type OverlayKind =
  /** Computed on this very frame. */
  | 'exact'
  /** Between two analysed frames that are both known: the way from one to the other. */
  | 'between'
  /** After the last analysed frame: from there on, the way that things were moving. */
  | 'predicted'
  /** Which frame this is could not be told: where things were last. */
  | 'held'
  | 'none';

export interface Overlay {
  readonly kind: OverlayKind;
  readonly boxes: readonly TrackBox[];
}

export const NO_OVERLAY: Overlay = { kind: 'none', boxes: [] };

/** 64 analysed frames are 12 s at 5 per second: far more than the picture is ever held back. */
const LOG_LENGTH = 64;

interface Around {
  readonly earlier: Analysed | null;
  readonly before: Analysed | null;
  readonly after: Analysed | null;
}

/** The last analysed frames of one camera, ordered by capture time. */
export class DetectionLog {
  #entries: Analysed[] = [];

  add(analysed: Analysed): void {
    const entries = this.#entries;
    let at = entries.length;
    while (at > 0 && (entries[at - 1]?.captureUs ?? 0) > analysed.captureUs) at -= 1;
    if (entries[at - 1]?.captureUs === analysed.captureUs) entries[at - 1] = analysed;
    else entries.splice(at, 0, analysed);
    if (entries.length > LOG_LENGTH) entries.shift();
  }

  get latest(): Analysed | null {
    return this.#entries.at(-1) ?? null;
  }

  /** The two newest entries captured at `captureUs` or before, and the oldest after it. */
  around(captureUs: number): Around {
    const entries = this.#entries;
    let at = entries.length;
    while (at > 0 && (entries[at - 1]?.captureUs ?? 0) > captureUs) at -= 1;
    return {
      earlier: entries[at - 2] ?? null,
      before: entries[at - 1] ?? null,
      after: entries[at] ?? null,
    };
  }

  clear(): void {
    this.#entries = [];
  }
}

/**
 * The overlay of the frame captured at `captureUs`.
 *
 * @param captureUs null where the browser could not tell which frame this is.
 * @param maxAgeUs how long boxes may stay after the frame that they were computed on.
 */
export function overlayFor(log: DetectionLog, captureUs: number | null, maxAgeUs: number): Overlay {
  if (captureUs === null) {
    const boxes = log.latest?.tracks ?? [];
    return boxes.length > 0 ? { kind: 'held', boxes } : NO_OVERLAY;
  }
  const { earlier, before, after } = log.around(captureUs);
  if (before?.captureUs === captureUs) return { kind: 'exact', boxes: before.tracks };
  if (!before || captureUs - before.captureUs > maxAgeUs) return NO_OVERLAY;
  if (after && after.captureUs - before.captureUs <= maxAgeUs) {
    return { kind: 'between', boxes: between(before, after, captureUs) };
  }
  return { kind: 'predicted', boxes: predicted(earlier, before, captureUs) };
}

/** Boxes on the way from `a` to `b`; only of tracks that are in both. */
function between(a: Analysed, b: Analysed, captureUs: number): TrackBox[] {
  const share = (captureUs - a.captureUs) / (b.captureUs - a.captureUs);
  const later = new Map(b.tracks.map((track) => [track.key, track]));
  return a.tracks.flatMap((track) => {
    const next = later.get(track.key);
    return next ? [{ ...track, box: mix(track.box, next.box, share) }] : [];
  });
}

/** Boxes moved on at the speed between `a` and `b`, for no longer than lay between those two. */
function predicted(a: Analysed | null, b: Analysed, captureUs: number): readonly TrackBox[] {
  if (!a) return b.tracks;
  const share = 1 + Math.min(1, (captureUs - b.captureUs) / (b.captureUs - a.captureUs));
  const earlier = new Map(a.tracks.map((track) => [track.key, track]));
  return b.tracks.map((track) => {
    const previous = earlier.get(track.key);
    return previous ? { ...track, box: mix(previous.box, track.box, share) } : track;
  });
}

/** From `a` (share 0) to `b` (share 1), and beyond. */
function mix(a: Box, b: Box, share: number): Box {
  return [
    a[0] + (b[0] - a[0]) * share,
    a[1] + (b[1] - a[1]) * share,
    a[2] + (b[2] - a[2]) * share,
    a[3] + (b[3] - a[3]) * share,
  ];
}
