/** A signed-in person changes the own password. */

import { useState } from 'preact/hooks';
import type { Api } from '../api/client';
import { ApiError } from '../api/errors';
import { t } from '../i18n';
import { notify } from '../state/notices';
import { FormDialog } from './form-dialog';
import { PasswordField, passwordProblem } from './password-field';
import { TextField } from './text-field';

export function OwnPassword({ api }: { api: Api }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" class="button quiet" onClick={() => setOpen(true)}>
        {t('password.change')}
      </button>
      {open ? <ChangePassword api={api} onClose={() => setOpen(false)} /> : null}
    </>
  );
}

function ChangePassword({ api, onClose }: { api: Api; onClose: () => void }) {
  const [current, setCurrent] = useState('');
  const [fresh, setFresh] = useState('');
  const problem = () => {
    if (current === '') return t('password.current.missing');
    return passwordProblem(fresh);
  };
  const change = async () => {
    try {
      await api.changeOwnPassword(current, fresh);
    } catch (error) {
      // Whoever may open this dialog may change the password: this is what else 403 means here.
      if (!(error instanceof ApiError) || error.kind !== 'forbidden') throw error;
      throw new ApiError('invalid', t('password.wrong'), error.status);
    }
    notify('good', t('password.changed'));
    onClose();
  };
  return (
    <FormDialog
      title={t('password.change')}
      submit={t('password.change')}
      problem={problem}
      onSubmit={change}
      onClose={onClose}
    >
      <TextField
        label={t('password.current')}
        value={current}
        secret
        autocomplete="current-password"
        onInput={setCurrent}
      />
      <PasswordField label={t('password.new')} value={fresh} onInput={setFresh} />
    </FormDialog>
  );
}
