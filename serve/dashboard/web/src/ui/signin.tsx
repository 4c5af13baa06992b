import { useState } from 'preact/hooks';
import { Api } from '../api/client';
import { keyCredential } from '../api/credential';
import { ApiError } from '../api/errors';
import { UserSession } from '../api/user-session';
import { SLUG } from '../domain/slug';
import { type MessageKey, t } from '../i18n';
import { isWellFormedKey } from '../state/key';
import { lastTenant } from '../state/signed-in';
import { TowerMark } from './icons';
import { Preferences } from './preferences';
import { TextField } from './text-field';
import { Toggle } from './toggle';
import { explain } from './trouble';
import { useProviders } from './use-providers';

export type SignedIn =
  | { readonly by: 'person'; readonly session: UserSession; readonly tenant: string }
  | { readonly by: 'key'; readonly key: string; readonly remember: boolean };

export interface SignInProps {
  readonly message: string | null;
  readonly onSignedIn: (signedIn: SignedIn) => void;
}

const WAYS = ['person', 'key'] as const;

export function SignIn({ message, onSignedIn }: SignInProps) {
  const [way, setWay] = useState<(typeof WAYS)[number]>('person');
  const Form = way === 'person' ? PersonForm : KeyForm;
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
        {/* biome-ignore lint/a11y/useSemanticElements: a fieldset is for a form. */}
        <div class="toggles" role="group" aria-label={t('signin.title')}>
          {WAYS.map((name) => (
            <Toggle key={name} pressed={way === name} onClick={() => setWay(name)}>
              {t(`signin.by.${name}`)}
            </Toggle>
          ))}
        </div>
        <Form key={way} message={message} onSignedIn={onSignedIn} />
      </main>
    </div>
  );
}

function PersonForm({ message, onSignedIn }: SignInProps) {
  const [tenant, setTenant] = useState(lastTenant);
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const providers = useProviders(tenant.trim());
  const { busy, error, submit } = useSubmit(message, async () => {
    const form = { tenant: tenant.trim(), email: email.trim(), password };
    if (!form.tenant || !form.email || !password) throw new FormError('signin.incomplete');
    if (!SLUG.test(form.tenant)) throw new FormError('signin.tenant.malformed');
    const session = await UserSession.signIn(form, { base: '' });
    onSignedIn({ by: 'person', session, tenant: form.tenant });
  });
  return (
    <form onSubmit={submit} noValidate>
      <TextField
        label={t('signin.tenant')}
        hint={t('signin.tenant.hint')}
        name="organization"
        autocomplete="organization"
        value={tenant}
        invalid={error !== null}
        onInput={setTenant}
      />
      <TextField
        label={t('signin.email')}
        inputMode="email"
        name="username"
        autocomplete="username"
        value={email}
        invalid={error !== null}
        onInput={setEmail}
      />
      <TextField
        label={t('signin.password')}
        secret
        name="password"
        autocomplete="current-password"
        value={password}
        invalid={error !== null}
        onInput={setPassword}
      />
      <Foot error={explainSignIn(error, 'signin.wrong')} busy={busy} />
      {providers.map((provider) => (
        <a key={provider.name} class="button block" href={provider.url}>
          {t('signin.provider', { title: provider.title })}
        </a>
      ))}
    </form>
  );
}

function KeyForm({ message, onSignedIn }: SignInProps) {
  const [key, setKey] = useState('');
  const [remember, setRemember] = useState(false);
  const { busy, error, submit } = useSubmit(message, async () => {
    const trimmed = key.trim();
    if (trimmed === '') throw new FormError('signin.empty');
    if (!isWellFormedKey(trimmed)) throw new FormError('signin.malformed');
    const session = await new Api({ base: '', credential: keyCredential(trimmed) }).session();
    if (session.tenant === null) throw new FormError('signin.forbidden');
    onSignedIn({ by: 'key', key: trimmed, remember });
  });
  return (
    <form onSubmit={submit} noValidate>
      <TextField
        label={t('signin.key')}
        hint={t('signin.hint')}
        secret
        name="access-key"
        autocomplete="off"
        value={key}
        invalid={error !== null}
        onInput={setKey}
      />
      <label class="check">
        <input
          type="checkbox"
          checked={remember}
          onChange={(event) => setRemember(event.currentTarget.checked)}
        />
        <span>{t('signin.remember')}</span>
      </label>
      <Foot error={explainSignIn(error, 'signin.unknown')} busy={busy} />
    </form>
  );
}

/** What is wrong with the form itself, or why the page came back to it. */
class FormError extends Error {
  constructor(readonly text: MessageKey) {
    super(text);
  }
}

/** `error` is what was thrown, or the message that the form begins with. */
function useSubmit(message: string | null, send: () => Promise<void>) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(message);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await send();
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  return { busy, error, submit };
}

function explainSignIn(problem: unknown, refused: MessageKey): string | null {
  if (problem === null) return null;
  if (typeof problem === 'string') return problem;
  if (problem instanceof FormError) return t(problem.text);
  if (problem instanceof ApiError && problem.kind === 'unauthorized') return t(refused);
  return explain(problem);
}

function Foot({ error, busy }: { error: string | null; busy: boolean }) {
  return (
    <>
      <p id="signin-error" class="form-error" role="alert">
        {error}
      </p>
      <button type="submit" class="button primary block" disabled={busy}>
        {busy ? t('signin.busy') : t('signin.submit')}
      </button>
    </>
  );
}
