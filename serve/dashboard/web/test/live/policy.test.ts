import { describe, expect, it } from 'vitest';
import { classColor } from '../../src/live/colors';
import { contain } from '../../src/live/fit';
import { type Candidate, chooseConnections } from '../../src/live/policy';

const camera = (id: string, changes: Partial<Candidate> = {}): Candidate => ({
  id,
  state: 'live',
  enabled: true,
  visible: true,
  focused: false,
  connected: false,
  ...changes,
});

describe('chooseConnections', () => {
  it.each([
    ['live', {}, true],
    ['degraded', { state: 'degraded' }, true],
    ['offline', { state: 'offline' }, false],
    ['offline though connected', { state: 'offline', connected: true }, false],
    ['connecting for the first time', { state: 'connecting' }, false],
    ['connecting again', { state: 'connecting', connected: true }, true],
    ['out of view', { visible: false }, false],
    ['disabled', { enabled: false }, false],
  ] as const)('%s', (_, changes, expected) => {
    expect(chooseConnections([camera('a', changes)]).has('a')).toBe(expected);
  });

  it('keeps to the limit: the enlarged one first, then those that play', () => {
    const cameras = [
      camera('a'),
      camera('b', { connected: true }),
      camera('c', { focused: true }),
      camera('d', { connected: true }),
    ];
    expect([...chooseConnections(cameras, 3)].sort()).toEqual(['b', 'c', 'd']);
  });
});

describe('contain', () => {
  it.each([
    [
      { width: 1920, height: 1080 },
      { x: 0, y: 0, width: 320, height: 180 },
    ],
    [
      { width: 640, height: 272 },
      { x: 0, y: 22, width: 320, height: 136 },
    ],
    [
      { width: 480, height: 640 },
      { x: 92.5, y: 0, width: 135, height: 180 },
    ],
    [
      { width: 0, height: 0 },
      { x: 0, y: 0, width: 320, height: 180 },
    ],
  ])('%j', (picture, expected) => {
    expect(contain(picture, { width: 320, height: 180 })).toEqual(expected);
  });
});

describe('classColor', () => {
  it('is the same each time, also for a class that nobody foresaw', () => {
    expect(classColor('forklift')).toBe(classColor('forklift'));
    expect(classColor('forklift')).toMatch(/^#[0-9a-f]{6}$/);
    expect(classColor('constructor')).toMatch(/^#[0-9a-f]{6}$/);
    expect(classColor('person')).not.toBe(classColor('car'));
  });
});
