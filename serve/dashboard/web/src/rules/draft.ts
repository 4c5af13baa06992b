/** A rule while it is being written, and the way from there to what the API takes. */

import type {
  Direction,
  Point,
  RuleBody,
  RuleKind,
  Schedule,
  ScheduleWindow,
  Weekday,
} from '../domain/types';
import { WEEKDAYS } from '../domain/types';
import { lineProblem, type OutlineProblem, zoneProblem } from './geometry';

export interface RuleDraft {
  readonly kind: RuleKind;
  readonly name: string;
  readonly points: readonly Point[];
  readonly classes: readonly string[];
  readonly direction: Direction;
  readonly seconds: number;
  readonly n: number;
  readonly minConfidence: number;
  readonly cooldownS: number;
  /** null: always armed. */
  readonly window: ScheduleWindow | null;
}

export const NEW_DRAFT: RuleDraft = {
  kind: 'zone_entry',
  name: '',
  points: [],
  classes: ['person'],
  direction: 'any',
  seconds: 10,
  n: 3,
  minConfidence: 0.4,
  cooldownS: 30,
  window: null,
};

export const NIGHT: ScheduleWindow = { days: WEEKDAYS, start: '22:00', end: '06:00' };

export type DraftProblem =
  | OutlineProblem
  | 'seconds'
  | 'n'
  | 'confidence'
  | 'cooldown'
  | 'no-days'
  | 'empty-window';

export function draftProblem(draft: RuleDraft): DraftProblem | null {
  const outline =
    draft.kind === 'line_cross' ? lineProblem(draft.points) : zoneProblem(draft.points);
  if (outline) return outline;
  if (draft.kind === 'loiter' && !(draft.seconds > 0 && draft.seconds <= 86_400)) return 'seconds';
  if (draft.kind === 'count') {
    if (!(draft.seconds >= 0 && draft.seconds <= 86_400)) return 'seconds';
    if (!(Number.isInteger(draft.n) && draft.n >= 1 && draft.n <= 1_000)) return 'n';
  }
  if (!(draft.minConfidence >= 0 && draft.minConfidence <= 1)) return 'confidence';
  if (!(draft.cooldownS >= 0 && draft.cooldownS <= 86_400)) return 'cooldown';
  if (draft.window && draft.window.days.length === 0) return 'no-days';
  if (draft.window && draft.window.start === draft.window.end) return 'empty-window';
  return null;
}

/** @throws Error where `draftProblem` has something to say. */
export function toRule(draft: RuleDraft, timezone: string): RuleBody {
  const problem = draftProblem(draft);
  if (problem) throw new Error(`the rule is not complete: ${problem}`);
  const base = {
    ...(draft.name.trim() ? { name: draft.name.trim() } : {}),
    classes: draft.classes,
    min_confidence: draft.minConfidence,
    cooldown_s: draft.cooldownS,
    schedule: schedule(draft.window, timezone),
  };
  switch (draft.kind) {
    case 'zone_entry':
      return { ...base, kind: 'zone_entry', polygon: draft.points };
    case 'line_cross':
      return {
        ...base,
        kind: 'line_cross',
        line: draft.points as unknown as readonly [Point, Point],
        direction: draft.direction,
      };
    case 'loiter':
      return { ...base, kind: 'loiter', polygon: draft.points, seconds: draft.seconds };
    case 'count':
      return { ...base, kind: 'count', polygon: draft.points, n: draft.n, seconds: draft.seconds };
  }
}

function schedule(window: ScheduleWindow | null, timezone: string): Schedule | null {
  if (!window) return null;
  const days = WEEKDAYS.filter((day) => window.days.includes(day));
  return { timezone, windows: [{ ...window, days }] };
}

export function toggle<T extends string | Weekday>(list: readonly T[], member: T): readonly T[] {
  return list.includes(member) ? list.filter((m) => m !== member) : [...list, member];
}

/** Another kind of outline starts anew; zones keep their corners from kind to kind. */
export function withKind(draft: RuleDraft, kind: RuleKind): RuleDraft {
  const sameOutline = (draft.kind === 'line_cross') === (kind === 'line_cross');
  return { ...draft, kind, points: sameOutline ? draft.points : [] };
}
