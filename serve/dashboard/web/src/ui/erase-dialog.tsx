/** Erasing one object: the reason, then the progress, then the receipt. */

import { useEffect, useState } from 'preact/hooks';
import type { Api } from '../api/client';
import type { Erasure, Sighting } from '../domain/types';
import { formatNumber, type MessageKey, t } from '../i18n';
import { poll } from '../state/poll';
import { Dialog } from './dialog';
import { FormDialog } from './form-dialog';
import { TextField } from './text-field';

const EVERY_MS = 2_000;

interface EraseProps {
  readonly api: Api;
  readonly object: Sighting;
  readonly onClose: () => void;
}

export function EraseDialog({ api, object, onClose }: EraseProps) {
  const [reason, setReason] = useState('');
  const [erasure, setErasure] = useState<Erasure | null>(null);
  if (erasure) {
    return <Progress api={api} erasure={erasure} onChange={setErasure} onClose={onClose} />;
  }
  return (
    <FormDialog
      title={t('erasure.title')}
      submit={t('erasure.confirm')}
      problem={() => (reason.trim() === '' ? t('erasure.reason.missing') : null)}
      onSubmit={async () => setErasure(await api.erase(object, reason.trim()))}
      onClose={onClose}
    >
      <p class="dialog-text">{t('erasure.text')}</p>
      <TextField
        label={t('erasure.reason')}
        hint={t('erasure.reason.hint')}
        value={reason}
        onInput={setReason}
      />
    </FormDialog>
  );
}

function Progress(props: {
  api: Api;
  erasure: Erasure;
  onChange: (erasure: Erasure) => void;
  onClose: () => void;
}) {
  const { api, erasure, onChange } = props;
  const { id } = erasure;
  useEffect(() => {
    const abort = new AbortController();
    void poll({
      everyMs: EVERY_MS,
      ask: async (signal) => {
        const found = await api.erasure(id, signal);
        onChange(found);
        if (found.state === 'done') abort.abort();
      },
      // It is asked again; what was shown last stays.
      onError: () => {},
      signal: abort.signal,
    });
    return () => abort.abort();
  }, [api, id, onChange]);
  return (
    <Dialog title={t('erasure.title')} onClose={props.onClose}>
      <div class="dialog-text" aria-live="polite">
        <p>{t(`erasure.state.${erasure.state}`)}</p>
        <Waits erasure={erasure} />
        <p>{t('erasure.removed', { count: formatNumber(erasure.removed) })}</p>
        {erasure.receipt ? null : <p>{t('erasure.goesOn')}</p>}
      </div>
      <div class="dialog-foot">
        {erasure.receipt ? (
          <button type="button" class="button" onClick={() => save(erasure)}>
            {t('erasure.receipt')}
          </button>
        ) : null}
        <button type="button" class="button primary" onClick={props.onClose}>
          {t('action.close')}
        </button>
      </div>
    </Dialog>
  );
}

function Waits({ erasure }: { erasure: Erasure }) {
  const waiting = erasure.open.filter((step) => step.waitingFor !== null);
  if (waiting.length === 0) return null;
  return (
    <ul>
      {waiting.map(({ step, waitingFor }) => (
        <li key={step}>
          {t(`erasure.step.${step}` as MessageKey)}: {t(`erasure.wait.${waitingFor}` as MessageKey)}
        </li>
      ))}
    </ul>
  );
}

function save({ id, receipt }: Erasure): void {
  const body = new Blob([`${JSON.stringify(receipt, null, 2)}\n`], { type: 'application/json' });
  const link = document.createElement('a');
  link.href = URL.createObjectURL(body);
  link.download = `erasure-${id}.json`;
  link.click();
  URL.revokeObjectURL(link.href);
}
