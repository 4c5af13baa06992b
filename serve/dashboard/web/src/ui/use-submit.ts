/** Sends a form: busy meanwhile, and what went wrong. */

import { useState } from 'preact/hooks';
import { explain } from './trouble';

export interface SubmitState {
  readonly busy: boolean;
  readonly error: string | null;
  readonly submit: (event: Event) => Promise<void>;
}

/**
 * @param problem what is wrong with the input; null: nothing
 * @param send leads away from the form when it succeeds: the form stays busy
 */
export function useSubmit(problem: () => string | null, send: () => Promise<void>): SubmitState {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    const found = problem();
    setError(found);
    if (found !== null) return;
    setBusy(true);
    try {
      await send();
    } catch (failure) {
      setError(explain(failure));
      setBusy(false);
    }
  };
  return { busy, error, submit };
}
