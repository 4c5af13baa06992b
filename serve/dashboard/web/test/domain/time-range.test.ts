import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  ANY_TIME,
  QUICK_TIMES,
  quickTime,
  timeDraftProblem,
  toTimeRange,
} from '../../src/domain/time-range';

const rfc3339 = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());

beforeEach(() => vi.stubEnv('TZ', 'America/Sao_Paulo'));
afterEach(() => vi.unstubAllEnvs());

describe('toTimeRange', () => {
  it('reads the fields in the local time zone', () => {
    const range = toTimeRange({ from: '2026-01-31T22:30', to: '' });
    expect(rfc3339(range.fromMs)).toBe('2026-02-01T01:30:00.000Z');
    expect(range.toMs).toBeNull();
  });

  it('knows what the offset was then', () => {
    vi.stubEnv('TZ', 'Europe/Lisbon');
    const range = toTimeRange({ from: '2026-01-31T08:00', to: '2026-07-31T08:00' });
    expect(rfc3339(range.fromMs)).toBe('2026-01-31T08:00:00.000Z');
    expect(rfc3339(range.toMs)).toBe('2026-07-31T07:00:00.000Z');
  });
});

describe('timeDraftProblem', () => {
  it.each([
    ['', '', null],
    ['2026-01-31T08:00', '', null],
    ['', '2026-01-31T08:00', null],
    ['2026-01-31T08:00', '2026-01-31T08:00', null],
    ['2026-01-31T08:01', '2026-01-31T08:00', 'order'],
    ['0202-01-31T08:00', '', 'unfinished'],
    ['2026-01-31T08:00', '0002-01-31T08:00', 'unfinished'],
    ['20260-01-31T08:00', '', 'unfinished'],
    [null, '', 'unfinished'],
  ])('from %j to %j: %j', (from, to, problem) => {
    expect(timeDraftProblem({ from, to })).toBe(problem);
  });
});

describe('quickTime', () => {
  const NOW = Date.UTC(2026, 1, 1, 1, 30, 45);

  it.each([
    ['any', ''],
    ['hour', '2026-01-31T21:30'],
    ['today', '2026-01-31T00:00'],
    ['week', '2026-01-24T22:30'],
  ] as const)('%s, at 22:30 on the last of January, is from %j', (choice, from) => {
    expect(quickTime(choice, NOW)).toEqual({ from, to: '' });
  });

  it('is good as it is', () => {
    for (const choice of QUICK_TIMES) expect(timeDraftProblem(quickTime(choice, NOW))).toBeNull();
    expect(quickTime('any', NOW)).toBe(ANY_TIME);
  });

  it('counts days by the calendar where clocks were changed', () => {
    vi.stubEnv('TZ', 'Europe/Lisbon');
    expect(quickTime('week', Date.UTC(2026, 2, 31, 8)).from).toBe('2026-03-24T09:00');
  });
});
