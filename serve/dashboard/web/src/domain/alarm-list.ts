/** The alarm feed's content: newest first, each alarm once, bounded. */

import type { Alarm } from './types';

export const MAX_ALARMS = 300;

/**
 * `known` with `incoming` laid over it. What says "acknowledged" wins: an event of the stream tells
 * the alarm as it was raised, also when it is told again after a reconnect.
 */
export function mergeAlarms(
  known: readonly Alarm[],
  incoming: readonly Alarm[],
  limit = MAX_ALARMS,
): readonly Alarm[] {
  const byId = new Map(known.map((alarm) => [alarm.id, alarm]));
  for (const alarm of incoming) {
    const before = byId.get(alarm.id);
    if (!before?.acknowledged || alarm.acknowledged) byId.set(alarm.id, alarm);
  }
  return [...byId.values()]
    .sort((a, b) => b.atMs - a.atMs || a.id.localeCompare(b.id))
    .slice(0, limit);
}
