import { describe, expect, it } from 'vitest';
import { type Analysed, decodeDetections } from '../../src/live/detections';
import { DetectionLog, overlayFor } from '../../src/live/overlay';

const MAX_AGE = 600_000;

function analysed(captureUs: number, x: number, key = 'k'): Analysed {
  const box = [x, 0, x + 0.1, 0.1] as const;
  return { captureUs, tracks: [{ key, label: 'person', confidence: 0.9, box }] };
}

function logOf(...entries: Analysed[]): DetectionLog {
  const log = new DetectionLog();
  for (const entry of entries) log.add(entry);
  return log;
}

describe('overlayFor', () => {
  const log = logOf(analysed(200_000, 0.2), analysed(400_000, 0.4));

  it('is exact on the analysed frame only', () => {
    expect(overlayFor(log, 200_000, MAX_AGE)).toMatchObject({ kind: 'exact' });
    for (const captureUs of [199_999, 200_001, 240_000, 399_999, 400_001]) {
      expect(overlayFor(log, captureUs, MAX_AGE).kind).not.toBe('exact');
    }
  });

  it('goes the way between two analysed frames', () => {
    const overlay = overlayFor(log, 250_000, MAX_AGE);
    expect(overlay.kind).toBe('between');
    expect(overlay.boxes[0]?.box[0]).toBeCloseTo(0.25);
  });

  it('moves on after the last one, but not further than one such way', () => {
    const near = overlayFor(log, 450_000, MAX_AGE);
    expect(near.kind).toBe('predicted');
    expect(near.boxes[0]?.box[0]).toBeCloseTo(0.45);
    expect(overlayFor(log, 900_000, MAX_AGE).boxes[0]?.box[0]).toBeCloseTo(0.6);
  });

  it('keeps a track that is new where it was', () => {
    const overlay = overlayFor(
      logOf(analysed(0, 0.1, 'a'), analysed(200_000, 0.5, 'b')),
      240_000,
      MAX_AGE,
    );
    expect(overlay.boxes.map((b) => [b.key, b.box[0]])).toEqual([['b', 0.5]]);
  });

  it('draws no track between frames of which only one has it', () => {
    const overlay = overlayFor(
      logOf(analysed(0, 0.1, 'a'), analysed(200_000, 0.5, 'b')),
      100_000,
      MAX_AGE,
    );
    expect(overlay).toEqual({ kind: 'between', boxes: [] });
  });

  it('shows nothing before the first, nor long after the last', () => {
    expect(overlayFor(log, 100_000, MAX_AGE).kind).toBe('none');
    expect(overlayFor(log, 400_000 + MAX_AGE + 1, MAX_AGE).kind).toBe('none');
    expect(overlayFor(new DetectionLog(), 100_000, MAX_AGE).kind).toBe('none');
  });

  it('holds the latest where the frame is not known', () => {
    expect(overlayFor(log, null, MAX_AGE)).toMatchObject({ kind: 'held' });
    expect(overlayFor(new DetectionLog(), null, MAX_AGE).kind).toBe('none');
  });

  it('is exact and empty where the frame was analysed and nothing was found', () => {
    const empty = logOf({ captureUs: 5, tracks: [] });
    expect(overlayFor(empty, 5, MAX_AGE)).toEqual({ kind: 'exact', boxes: [] });
  });

  it('orders what comes out of order, and replaces what comes twice', () => {
    const mixed = logOf(analysed(3, 0.3), analysed(1, 0.1), analysed(2, 0.2), analysed(2, 0.9));
    expect(mixed.around(2)).toMatchObject({
      earlier: { captureUs: 1 },
      before: analysed(2, 0.9),
      after: { captureUs: 3 },
    });
  });

  it('remembers a bounded number', () => {
    const long = new DetectionLog();
    for (let i = 0; i < 1_000; i += 1) long.add(analysed(i, 0));
    expect(overlayFor(long, 900, MAX_AGE).kind).toBe('none');
    expect(overlayFor(long, 990, MAX_AGE).kind).toBe('exact');
  });
});

describe('decodeDetections', () => {
  const encode = (body: unknown) => new TextEncoder().encode(JSON.stringify(body));
  const track = { k: 'k1', c: 'person', p: 0.87, b: [0.1, 0.2, 0.3, 0.4] };

  it('reads a frame, with its capture time to the microsecond', () => {
    const t = 1_767_323_045_678_901;
    expect(decodeDetections(encode({ v: 1, t, w: 640, h: 360, tracks: [track] }))).toEqual({
      captureUs: t,
      tracks: [{ key: 'k1', label: 'person', confidence: 0.87, box: [0.1, 0.2, 0.3, 0.4] }],
    });
  });

  it('leaves out a track that it cannot read', () => {
    const broken = [{ ...track, b: [1, 2, 3] }, { ...track, k: 7 }, null, track];
    expect(decodeDetections(encode({ v: 1, t: 1, tracks: broken }))?.tracks).toHaveLength(1);
  });

  it.each([
    ['no JSON', new Uint8Array([0xff, 0x00])],
    ['another version', encode({ v: 2, t: 1, tracks: [] })],
    ['no time', encode({ v: 1, tracks: [] })],
    ['a list', encode([])],
  ])('is null for %s', (_, payload) => {
    expect(decodeDetections(payload)).toBeNull();
  });
});
