/** A list of the API that is read once, and again after each change. */

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { explain } from './trouble';

export interface ListState<T> {
  /** Null until it has been read. */
  readonly items: readonly T[] | null;
  readonly error: string | null;
  readonly reload: () => Promise<void>;
}

export function useList<T>(ask: (signal: AbortSignal) => Promise<readonly T[]>): ListState<T> {
  const [items, setItems] = useState<readonly T[] | null>(null);
  const [error, setError] = useState<string | null>(null);
  const abort = useRef(new AbortController());
  const latest = useRef(ask);
  latest.current = ask;
  const reload = useCallback(async () => {
    const { signal } = abort.current;
    try {
      setItems(await latest.current(signal));
      setError(null);
    } catch (failure) {
      if (!signal.aborted) setError(explain(failure));
    }
  }, []);
  useEffect(() => {
    abort.current = new AbortController();
    void reload();
    return () => abort.current.abort();
  }, []);
  return { items, error, reload };
}
