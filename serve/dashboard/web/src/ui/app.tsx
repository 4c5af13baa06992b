import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { Api } from '../api/client';
import { type Credential, keyCredential } from '../api/credential';
import { ApiError } from '../api/errors';
import { UserSession } from '../api/user-session';
import { t } from '../i18n';
import { forgetKey, rememberedKey, rememberKey } from '../state/key';
import { notices } from '../state/notices';
import { takeSignInReturn } from '../state/sign-in-return';
import { isSignedIn, noteSignedIn, noteSignedOut, onSignedOutElsewhere } from '../state/signed-in';
import { Workspace } from '../state/workspace';
import { Notices } from './notices';
import { Shell } from './shell';
import { type SignedIn, SignIn } from './signin';
import { explain } from './trouble';

/** Who is signed in, and what keeps them so. */
interface Open {
  readonly workspace: Workspace;
  readonly credential: Credential;
}

export function App() {
  const open = useSignal<Open | null>(null);
  const resuming = useSignal(false);
  const message = useSignal<string | null>(null);

  const leave = (why: string | null) => {
    open.value?.workspace.close();
    open.value = null;
    forgetKey();
    notices.value = [];
    message.value = why;
  };
  const enter = (credential: Credential) => {
    message.value = null;
    const onUnauthorized = () => leave(farewell(credential));
    const api = new Api({ base: '', credential, onUnauthorized });
    open.value = { workspace: new Workspace(api), credential };
  };
  const resume = async () => {
    resuming.value = true;
    try {
      enter(await UserSession.resume({ base: '' }));
    } catch (error) {
      const ended = error instanceof ApiError && error.kind === 'unauthorized';
      if (ended) noteSignedOut();
      message.value = ended ? t('signin.ended') : explain(error);
    }
    resuming.value = false;
  };
  const signOut = () => {
    const credential = open.peek()?.credential;
    noteSignedOut();
    leave(null);
    if (!(credential instanceof UserSession)) return;
    credential.end().catch((error: unknown) => {
      message.value = `${t('signin.notEnded')} ${explain(error)}`;
    });
  };

  // Once, when the page opens.
  useEffect(() => {
    const abort = new AbortController();
    message.value = comeBack();
    const key = rememberedKey();
    if (key !== null) enter(keyCredential(key));
    else if (isSignedIn()) void resume();
    onSignedOutElsewhere(() => {
      if (open.peek()?.credential instanceof UserSession) leave(t('signin.ended'));
    }, abort.signal);
    return () => {
      abort.abort();
      open.peek()?.workspace.close();
    };
  }, []);

  const onSignedIn = (signedIn: SignedIn) => {
    if (signedIn.by === 'person') {
      noteSignedIn(signedIn.tenant);
      enter(signedIn.session);
    } else {
      if (signedIn.remember) rememberKey(signedIn.key);
      enter(keyCredential(signedIn.key));
    }
  };
  return (
    <>
      {open.value ? (
        <Shell workspace={open.value.workspace} onSignOut={signOut} />
      ) : resuming.value ? (
        <p class="quiet-text resuming">{t('signin.resuming')}</p>
      ) : (
        <SignIn key={message.value ?? ''} message={message.value} onSignedIn={onSignedIn} />
      )}
      <Notices />
    </>
  );
}

/** What to say where a credential stopped being good. Other tabs go by what is noted. */
function farewell(credential: Credential): string {
  if (!(credential instanceof UserSession)) return t('signin.expired');
  if (credential.replaced) return t('signin.replaced');
  noteSignedOut();
  return t('signin.ended');
}

/** From an identity provider; what to say on the sign-in page. */
function comeBack(): string | null {
  const back = takeSignInReturn();
  if (back?.tenant) {
    forgetKey();
    noteSignedIn(back.tenant);
  }
  return back?.failure ? t(`signin.failed.${back.failure}`) : null;
}
