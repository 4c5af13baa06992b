/** Which cameras get a connection: those that have a picture and are in view, up to a limit. */

import type { CameraState } from '../domain/types';

/** Each is a WebRTC connection with a decoder of its own; browsers and laptops tire beyond this. */
export const MAX_CONNECTIONS = 16;

export interface Candidate {
  readonly id: string;
  readonly state: CameraState;
  readonly enabled: boolean;
  readonly visible: boolean;
  readonly focused: boolean;
  /** Whether it has a connection now. */
  readonly connected: boolean;
}

/** The ids to be connected. A camera that has a connection keeps it while the state merely flickers. */
export function chooseConnections(
  candidates: readonly Candidate[],
  limit = MAX_CONNECTIONS,
): ReadonlySet<string> {
  const rank = (c: Candidate) => (c.focused ? 0 : c.connected ? 1 : 2);
  return new Set(
    candidates
      .filter((c) => c.visible && c.enabled && hasPicture(c))
      .sort((a, b) => rank(a) - rank(b))
      .slice(0, limit)
      .map((c) => c.id),
  );
}

function hasPicture({ state, connected }: Candidate): boolean {
  switch (state) {
    case 'live':
    case 'degraded':
      return true;
    case 'connecting':
      return connected;
    case 'offline':
      return false;
  }
}
