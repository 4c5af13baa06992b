/** Ties a tile's elements to a room: connects while wanted, and tells how it goes. */

import { useEffect, useRef, useState } from 'preact/hooks';
import { nameOfClass } from '../i18n';
import { Player, type PlayerStats } from '../live/player';
import { type LinkState, LiveSession } from '../live/session';
import { StallWatch } from '../live/stall';
import type { Workspace } from '../state/workspace';

const CHECK_EVERY_MS = 500;

export interface LiveCamera {
  readonly link: LinkState;
  readonly stats: PlayerStats | null;
  /** Whether a picture was shown since the tile connected. */
  readonly hasPicture: boolean;
}

export function useLiveCamera(
  workspace: Workspace,
  camera: string,
  wanted: boolean,
  unmasked: boolean,
  elements: {
    readonly video: { readonly current: HTMLVideoElement | null };
    readonly canvas: { readonly current: HTMLCanvasElement | null };
  },
): LiveCamera {
  const [link, setLink] = useState<LinkState>('closed');
  const [stats, setStats] = useState<PlayerStats | null>(null);
  const { video, canvas } = useRef(elements).current;
  useEffect(() => {
    if (!wanted || !video.current || !canvas.current) return;
    let joined = false;
    const player = new Player(video.current, canvas.current, nameOfClass);
    const { api } = workspace;
    const join = (signal: AbortSignal) =>
      unmasked ? api.joinUnmasked(camera, signal) : api.join(camera, signal);
    const session = new LiveSession(join, {
      video: (track) => player.attach(track),
      videoGone: () => player.detach(),
      detections: (payload) => player.receive(payload),
      link: (state) => {
        joined = state === 'connected';
        setLink(state);
      },
    });
    const stall = new StallWatch();
    workspace.players.set(camera, player);
    const timer = setInterval(() => {
      const { stats } = player;
      const expected = joined && document.visibilityState === 'visible';
      if (stall.check(stats.shown, expected)) session.rejoin();
      setStats(stats);
    }, CHECK_EVERY_MS);
    return () => {
      clearInterval(timer);
      session.close();
      workspace.players.delete(camera);
      player.dispose();
      setStats(null);
    };
  }, [workspace, camera, wanted, unmasked, video, canvas]);
  return { link, stats, hasPicture: (stats?.shown ?? 0) > 0 };
}
