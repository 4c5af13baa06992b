import { describe, expect, it } from 'vitest';
import type { Point } from '../../src/domain/types';
import {
  draftProblem,
  NEW_DRAFT,
  NIGHT,
  type RuleDraft,
  toRule,
  withKind,
} from '../../src/rules/draft';
import {
  clampPoint,
  crossesItself,
  leftToRight,
  lineProblem,
  polygonArea,
  zoneProblem,
} from '../../src/rules/geometry';

const SQUARE: readonly Point[] = [
  [0.1, 0.1],
  [0.9, 0.1],
  [0.9, 0.9],
  [0.1, 0.9],
];
const BOW: readonly Point[] = [
  [0.1, 0.1],
  [0.9, 0.9],
  [0.9, 0.1],
  [0.1, 0.9],
];
const LINE: readonly Point[] = [
  [0.5, 0.9],
  [0.5, 0.1],
];

describe('geometry', () => {
  it('measures a zone', () => {
    expect(polygonArea(SQUARE)).toBeCloseTo(0.64);
    expect(polygonArea([...SQUARE].reverse())).toBeCloseTo(0.64);
  });

  it('sees an outline that crosses itself', () => {
    expect(crossesItself(BOW)).toBe(true);
    expect(crossesItself(SQUARE)).toBe(false);
  });

  it.each([
    [SQUARE, null],
    [SQUARE.slice(0, 2), 'too-few'],
    [BOW, 'crosses'],
    [[SQUARE[0], SQUARE[0], SQUARE[0]] as Point[], 'too-small'],
    [Array.from({ length: 65 }, (_, i): Point => [i / 65, (i / 65) ** 2]), 'too-many'],
  ])('zone %#', (points, problem) => {
    expect(zoneProblem(points)).toBe(problem);
  });

  it.each([
    [LINE, null],
    [LINE.slice(0, 1), 'too-few'],
    [[LINE[0], [0.5, 0.895]] as Point[], 'too-small'],
    [SQUARE, 'too-many'],
  ])('line %#', (points, problem) => {
    expect(lineProblem(points)).toBe(problem);
  });

  it('knows left from right: who stands below and looks up has their right on the right', () => {
    expect(leftToRight([0.5, 0.9], [0.5, 0.1], 16 / 9)).toEqual([1, 0]);
    expect(leftToRight([0.1, 0.5], [0.9, 0.5], 16 / 9)).toEqual([0, 1]);
    expect(leftToRight([0.5, 0.5], [0.5, 0.5], 1)).toEqual([0, 0]);
  });

  it('keeps points in the picture', () => {
    expect(clampPoint([-0.2, 1.7])).toEqual([0, 1]);
    expect(clampPoint([0.123456, 0.5])).toEqual([0.1235, 0.5]);
  });
});

describe('a rule draft', () => {
  const zone: RuleDraft = { ...NEW_DRAFT, points: SQUARE };

  it.each([
    [zone, null],
    [{ ...zone, points: [] }, 'too-few'],
    [{ ...zone, kind: 'loiter', seconds: 0 }, 'seconds'],
    [{ ...zone, kind: 'loiter', seconds: Number.NaN }, 'seconds'],
    [{ ...zone, kind: 'count', n: 1.5 }, 'n'],
    [{ ...zone, kind: 'count', seconds: 0 }, null],
    [{ ...zone, minConfidence: Number.NaN }, 'confidence'],
    [{ ...zone, cooldownS: -1 }, 'cooldown'],
    [{ ...zone, window: { ...NIGHT, days: [] } }, 'no-days'],
    [{ ...zone, window: { ...NIGHT, end: NIGHT.start } }, 'empty-window'],
  ] as const)('%#: %s', (draft, problem) => {
    expect(draftProblem(draft as RuleDraft)).toBe(problem);
  });

  it('becomes what the API takes, without keys of other kinds', () => {
    const base = { classes: ['person'], min_confidence: 0.4, cooldown_s: 30, schedule: null };
    expect(toRule(zone, 'UTC')).toEqual({ ...base, kind: 'zone_entry', polygon: SQUARE });
    expect(toRule({ ...zone, kind: 'loiter', name: ' Door ' }, 'UTC')).toEqual({
      ...base,
      name: 'Door',
      kind: 'loiter',
      polygon: SQUARE,
      seconds: 10,
    });
    expect(toRule({ ...zone, kind: 'count' }, 'UTC')).toMatchObject({ n: 3, seconds: 10 });
    const line: RuleDraft = { ...zone, kind: 'line_cross', points: LINE };
    expect(toRule(line, 'UTC')).toEqual({
      ...base,
      kind: 'line_cross',
      line: LINE,
      direction: 'any',
    });
  });

  it('carries its schedule with the zone, days in the order of the week', () => {
    const window = { days: ['sun', 'mon'], start: '22:00', end: '06:00' } as const;
    expect(toRule({ ...zone, window }, 'America/Sao_Paulo').schedule).toEqual({
      timezone: 'America/Sao_Paulo',
      windows: [{ days: ['mon', 'sun'], start: '22:00', end: '06:00' }],
    });
  });

  it('does not become a rule before it is complete', () => {
    expect(() => toRule(NEW_DRAFT, 'UTC')).toThrow('too-few');
  });

  it('keeps its corners from zone to zone, and not from zone to line', () => {
    expect(withKind(zone, 'loiter').points).toBe(SQUARE);
    expect(withKind(zone, 'line_cross').points).toEqual([]);
  });
});
