/** What the watcher says of one frame, read from the data track `detections`. */

import type { Box } from '../domain/types';

export interface TrackBox {
  /** The track's key: the same object keeps it from frame to frame. */
  readonly key: string;
  readonly label: string;
  readonly confidence: number;
  readonly box: Box;
}

export interface Analysed {
  /** Capture time of the frame that was looked at: microseconds since 1970. */
  readonly captureUs: number;
  readonly tracks: readonly TrackBox[];
}

const SUPPORTED_VERSION = 1;
const decoder = new TextDecoder();

/**
 * Decodes one frame of the data track; null where it is not one of ours.
 *
 * A capture time fits a number: 2^53 microseconds are reached in the year 2255.
 */
export function decodeDetections(payload: Uint8Array): Analysed | null {
  let body: unknown;
  try {
    body = JSON.parse(decoder.decode(payload));
  } catch {
    return null;
  }
  if (typeof body !== 'object' || body === null) return null;
  const { v, t, tracks } = body as Record<string, unknown>;
  if (v !== SUPPORTED_VERSION || typeof t !== 'number' || !Array.isArray(tracks)) return null;
  return {
    captureUs: t,
    tracks: tracks.map(decodeTrack).filter((track): track is TrackBox => track !== null),
  };
}

function decodeTrack(value: unknown): TrackBox | null {
  if (typeof value !== 'object' || value === null) return null;
  const { k, c, p, b } = value as Record<string, unknown>;
  if (typeof k !== 'string' || typeof c !== 'string' || typeof p !== 'number') return null;
  if (!Array.isArray(b) || b.length !== 4 || !b.every(Number.isFinite)) return null;
  return { key: k, label: c, confidence: p, box: b as unknown as Box };
}
