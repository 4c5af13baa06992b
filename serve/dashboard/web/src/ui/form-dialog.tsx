/** A dialog with a form that sends something: busy, its error, cancel. */

import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { t } from '../i18n';
import { Dialog } from './dialog';
import { explain } from './trouble';

export interface FormDialogProps {
  readonly title: string;
  readonly submit: string;
  /** Called before anything is sent: what is wrong with the input; null: nothing. */
  readonly problem: () => string | null;
  /** Closes the dialog itself, so that it can show something else instead. */
  readonly onSubmit: () => Promise<void>;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
}

export function FormDialog(props: FormDialogProps) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    const problem = props.problem();
    setError(problem);
    if (problem) return;
    setBusy(true);
    try {
      await props.onSubmit();
    } catch (failure) {
      setError(explain(failure));
      setBusy(false);
    }
  };
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <form class="form" onSubmit={submit} noValidate>
        {props.children}
        <p class="form-error" role="alert">
          {error}
        </p>
        <div class="dialog-foot">
          <button type="button" class="button quiet" onClick={props.onClose}>
            {t('action.cancel')}
          </button>
          <button type="submit" class="button primary" disabled={busy}>
            {props.submit}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
