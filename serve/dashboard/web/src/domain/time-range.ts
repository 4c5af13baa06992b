/** A stretch of time as two fields hold it, in the time zone of whoever looks at the page. */

import type { TimeRange } from './types';

/** Wall time as a `datetime-local` field gives it, "2026-01-31T08:00"; empty: no bound; null: it is
 * being written, and not complete. */
export type TimeBound = string | null;

export interface TimeDraft {
  readonly from: TimeBound;
  readonly to: TimeBound;
}

export const ANY_TIME: TimeDraft = { from: '', to: '' };

/** While a year is typed its first digits are a year too: 2, 20, 202. Nothing was seen then. */
export const EARLIEST = '1970-01-01T00:00';
export const LATEST = '2999-12-31T23:59';

export type TimeDraftProblem = 'order' | 'unfinished';

export function timeDraftProblem(draft: TimeDraft): TimeDraftProblem | null {
  if (!isWhole(draft.from) || !isWhole(draft.to)) return 'unfinished';
  const { fromMs, toMs } = toTimeRange(draft);
  return fromMs !== null && toMs !== null && fromMs > toMs ? 'order' : null;
}

/** Of a draft that has no problem. */
export function toTimeRange(draft: TimeDraft): TimeRange {
  return { fromMs: momentOf(draft.from), toMs: momentOf(draft.to) };
}

export const QUICK_TIMES = ['any', 'hour', 'today', 'week'] as const;
export type QuickTime = (typeof QUICK_TIMES)[number];

/** Without an end: what is seen from now on belongs to each of them. */
export function quickTime(choice: QuickTime, nowMs: number): TimeDraft {
  const from = new Date(nowMs);
  switch (choice) {
    case 'any':
      return ANY_TIME;
    case 'hour':
      from.setTime(nowMs - 3_600_000);
      break;
    case 'today':
      from.setHours(0, 0, 0, 0);
      break;
    case 'week':
      // By the calendar: the same time of day, also where clocks were changed since.
      from.setDate(from.getDate() - 7);
      break;
  }
  return { from: wallTime(from), to: '' };
}

function isWhole(bound: TimeBound): boolean {
  if (bound === '') return true;
  // As long as these, so that the order of the letters is that of the times.
  return bound?.length === EARLIEST.length && bound >= EARLIEST && bound <= LATEST;
}

function momentOf(bound: TimeBound): number | null {
  // Without an offset it is local time, by the language's own rule.
  return bound ? new Date(bound).getTime() : null;
}

/** To the minute, as the fields are. */
function wallTime(time: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${day}T${two(time.getHours())}:${two(time.getMinutes())}`;
}
