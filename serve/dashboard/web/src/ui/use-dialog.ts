/** Which dialog of a list is open, and what follows when one has done its work. */

import { useState } from 'preact/hooks';
import { notify } from '../state/notices';

export interface DialogState<T> {
  /** Null: none. */
  readonly open: T | null;
  readonly setOpen: (dialog: T) => void;
  readonly close: () => void;
  /** Says what was done, closes the dialog and reads the list again. */
  readonly done: (message: string) => Promise<void>;
}

export function useDialog<T>(reload: () => Promise<void>): DialogState<T> {
  const [open, setOpen] = useState<T | null>(null);
  const close = () => setOpen(null);
  const done = async (message: string) => {
    notify('good', message);
    close();
    await reload();
  };
  return { open, setOpen, close, done };
}
