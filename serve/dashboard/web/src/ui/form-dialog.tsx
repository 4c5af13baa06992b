/** A dialog with a form that sends something: busy, its error, cancel. */

import type { ComponentChildren } from 'preact';
import { t } from '../i18n';
import { Dialog } from './dialog';
import { useSubmit } from './use-submit';

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
  const { busy, error, submit } = useSubmit(props.problem, props.onSubmit);
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
