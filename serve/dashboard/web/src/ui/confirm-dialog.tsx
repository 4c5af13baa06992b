import { useState } from 'preact/hooks';
import { t } from '../i18n';
import { Dialog } from './dialog';
import { explain } from './trouble';

export interface ConfirmDialogProps {
  readonly title: string;
  readonly question: string;
  readonly confirm: string;
  readonly onConfirm: () => Promise<void>;
  readonly onClose: () => void;
}

export function ConfirmDialog(props: ConfirmDialogProps) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const confirm = async () => {
    setBusy(true);
    try {
      await props.onConfirm();
      props.onClose();
    } catch (problem) {
      setError(explain(problem));
      setBusy(false);
    }
  };
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <p class="dialog-text">{props.question}</p>
      <p class="form-error" role="alert">
        {error}
      </p>
      <div class="dialog-foot">
        <button type="button" class="button quiet" onClick={props.onClose}>
          {t('action.cancel')}
        </button>
        <button type="button" class="button danger" disabled={busy} onClick={confirm}>
          {props.confirm}
        </button>
      </div>
    </Dialog>
  );
}
