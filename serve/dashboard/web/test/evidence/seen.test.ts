import { describe, expect, it } from 'vitest';
import { DecodeError, decodeClip, decodeSeen } from '../../src/domain/decode';
import { boxesAt } from '../../src/evidence/seen';
import { clipJson } from '../samples';

const box = (track: string) => ({
  track,
  class: 'person',
  confidence: 0.9,
  box: [0.1, 0.2, 0.3, 0.4],
});
const seen = decodeSeen({
  frames: [
    { t: 1, boxes: [box('a')] },
    { t: 1.2, boxes: [box('b'), { ...box('c'), alarm: true }] },
    { t: 4, boxes: [] },
  ],
});

describe('boxesAt', () => {
  it.each([
    [0.9, ''],
    [0.999, 'a'],
    [1.1, 'a'],
    [1.2, 'b c'],
    [1.69, 'b c'],
    [1.7, ''],
    [4.1, ''],
  ])('at %f s: %j', (shown, tracks) => {
    const keys = boxesAt(seen, shown).map((b) => b.key);
    expect(keys.join(' ')).toBe(tracks);
  });

  it('of a clip in which nothing was seen', () => {
    expect(boxesAt([], 1)).toEqual([]);
  });
});

describe('decodeSeen', () => {
  it('knows what the alarm is about', () => {
    expect(seen[1]?.boxes.map((b) => b.alarm)).toEqual([false, true]);
  });

  it('leaves out a box without corners', () => {
    const frames = [{ t: 1, boxes: [{ ...box('a'), box: [1] }, box('b')] }];
    expect(decodeSeen({ frames })[0]?.boxes.map((b) => b.key)).toEqual(['b']);
  });
});

describe('decodeClip', () => {
  it('reads a clip that is ready', () => {
    expect(decodeClip(clipJson())).toMatchObject({
      state: 'ready',
      alarmAtS: 5.2,
      url: '/media/eyJ0.eyJ1.s-_g',
      boxesUrl: '/media/eyJ0.eyJ2.s-_g',
      fromMs: Date.UTC(2026, 0, 2, 3, 4, 0, 400),
      gaps: 1,
    });
  });

  it('reads one that is not ready', () => {
    const none = { state: 'none', code: 'recording-off', reason: 'Off.', url: null, boxes: null };
    expect(decodeClip(clipJson(none))).toMatchObject({
      state: 'none',
      code: 'recording-off',
      reason: 'Off.',
      url: null,
      boxesUrl: null,
    });
  });

  it.each([
    ['a foreign address', { url: 'https://example.org/x.mp4' }],
    ['another path', { url: '/v1/alarms' }],
    ['an unknown state', { state: 'asleep' }],
  ])('refuses %s', (_, changes) => {
    expect(() => decodeClip(clipJson(changes))).toThrow(DecodeError);
  });
});
