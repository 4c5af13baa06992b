import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { Api } from '../api/client';
import { t } from '../i18n';
import { forgetKey, rememberedKey, rememberKey } from '../state/key';
import { notices } from '../state/notices';
import { Workspace } from '../state/workspace';
import { Notices } from './notices';
import { Shell } from './shell';
import { SignIn } from './signin';

export function App() {
  const workspace = useSignal<Workspace | null>(null);
  const message = useSignal<string | null>(null);

  const signOut = (why: string | null) => {
    workspace.value?.close();
    workspace.value = null;
    forgetKey();
    notices.value = [];
    message.value = why;
  };
  const signIn = (key: string) => {
    message.value = null;
    const onUnauthorized = () => signOut(t('signin.expired'));
    workspace.value = new Workspace(new Api({ base: '', key, onUnauthorized }));
  };

  // Once, when the page opens.
  useEffect(() => {
    const key = rememberedKey();
    if (key !== null) signIn(key);
    return () => workspace.peek()?.close();
  }, []);

  return (
    <>
      {workspace.value ? (
        <Shell workspace={workspace.value} onSignOut={() => signOut(null)} />
      ) : (
        <SignIn
          key={message.value ?? ''}
          message={message.value}
          onSignedIn={(key, remember) => {
            if (remember) rememberKey(key);
            signIn(key);
          }}
        />
      )}
      <Notices />
    </>
  );
}
