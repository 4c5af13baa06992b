import { useState } from 'preact/hooks';
import { Api } from '../api/client';
import { ApiError } from '../api/errors';
import { t } from '../i18n';
import { isWellFormedKey } from '../state/key';
import { TowerMark } from './icons';
import { Preferences } from './preferences';
import { explain } from './trouble';

export interface SignInProps {
  readonly message: string | null;
  readonly onSignedIn: (key: string, remember: boolean) => void;
}

export function SignIn({ message, onSignedIn }: SignInProps) {
  return (
    <div class="signin">
      <div class="signin-corner">
        <Preferences />
      </div>
      <main class="signin-card">
        <div class="signin-brand">
          <TowerMark size={44} />
          <h1>Atalaia</h1>
          <p>{t('app.tagline')}</p>
        </div>
        <KeyForm message={message} onSignedIn={onSignedIn} />
      </main>
    </div>
  );
}

function KeyForm({ message, onSignedIn }: SignInProps) {
  const [key, setKey] = useState('');
  const [remember, setRemember] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(message);

  const submit = async (event: Event) => {
    event.preventDefault();
    const trimmed = key.trim();
    if (trimmed === '') return setError(t('signin.empty'));
    if (!isWellFormedKey(trimmed)) return setError(t('signin.malformed'));
    setBusy(true);
    setError(null);
    try {
      await new Api({ base: '', key: trimmed }).cameras();
      onSignedIn(trimmed, remember);
    } catch (problem) {
      setError(explainSignIn(problem));
    } finally {
      setBusy(false);
    }
  };

  return (
    <form onSubmit={submit} noValidate>
      <label class="field">
        <span>{t('signin.key')}</span>
        <input
          type="password"
          name="access-key"
          value={key}
          onInput={(event) => setKey(event.currentTarget.value)}
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          aria-invalid={error !== null}
          aria-describedby="signin-hint signin-error"
        />
        <small id="signin-hint">{t('signin.hint')}</small>
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked={remember}
          onChange={(event) => setRemember(event.currentTarget.checked)}
        />
        <span>{t('signin.remember')}</span>
      </label>
      <p id="signin-error" class="form-error" role="alert">
        {error}
      </p>
      <button type="submit" class="button primary block" disabled={busy}>
        {busy ? t('signin.busy') : t('signin.submit')}
      </button>
    </form>
  );
}

function explainSignIn(problem: unknown): string {
  if (problem instanceof ApiError && problem.kind === 'unauthorized') return t('signin.unknown');
  if (problem instanceof ApiError && problem.kind === 'forbidden') return t('signin.forbidden');
  return explain(problem);
}
