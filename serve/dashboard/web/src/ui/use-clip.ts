/** The clip of an alarm and what was seen in it: asked for until it is ready, or there is none. */

import { useEffect, useRef, useState } from 'preact/hooks';
import type { Api } from '../api/client';
import { ApiError } from '../api/errors';
import type { Clip, SeenFrame } from '../domain/types';
import { t } from '../i18n';
import { poll } from '../state/poll';
import { explain } from './trouble';

const ASK_EVERY_MS = 3_000;

export interface ClipWatch {
  readonly clip: Clip | null;
  readonly seen: readonly SeenFrame[];
  readonly error: string | null;
  /** Ask for fresh addresses: those of a clip work for some minutes only. */
  readonly renew: () => void;
}

export function useClip(api: Api, alarm: string): ClipWatch {
  const [clip, setClip] = useState<Clip | null>(null);
  const [seen, setSeen] = useState<readonly SeenFrame[]>([]);
  const [error, setError] = useState<string | null>(null);
  const [round, setRound] = useState(0);
  const known = useRef<readonly SeenFrame[]>([]);

  useEffect(() => {
    const abort = new AbortController();
    const ask = async (signal: AbortSignal) => {
      const next = await api.clip(alarm, signal);
      if (signal.aborted) return;
      setError(null);
      setClip(next);
      if (next.state !== 'pending') abort.abort();
    };
    const fail = (failure: unknown) => {
      setError(explain(failure));
      // An alarm that is gone stays gone.
      if (failure instanceof ApiError && !failure.retryable) abort.abort();
    };
    void poll({ everyMs: ASK_EVERY_MS, ask, onError: fail, signal: abort.signal });
    return () => abort.abort();
  }, [api, alarm, round]);

  const boxes = clip?.boxesUrl ?? null;
  useEffect(() => {
    if (boxes === null || known.current.length > 0) return;
    const abort = new AbortController();
    api.seen(boxes, abort.signal).then(
      (frames) => {
        known.current = frames;
        setSeen(frames);
      },
      () => {
        if (!abort.signal.aborted) setError(t('clip.boxesFailed'));
      },
    );
    return () => abort.abort();
  }, [api, boxes]);

  return { clip, seen, error, renew: () => setRound((before) => before + 1) };
}
