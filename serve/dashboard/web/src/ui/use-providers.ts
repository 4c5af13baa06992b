import { useEffect, useState } from 'preact/hooks';
import { providersOf } from '../api/providers';
import type { Provider } from '../domain/access';
import { SLUG } from '../domain/slug';

/** Until somebody stops typing. */
const PAUSE_MS = 300;

/** Identity providers of an organization, while its name is typed. */
export function useProviders(tenant: string): readonly Provider[] {
  const [found, setFound] = useState<readonly Provider[]>([]);
  useEffect(() => {
    setFound([]);
    if (!SLUG.test(tenant)) return;
    const abort = new AbortController();
    const timer = setTimeout(() => {
      providersOf(tenant, abort.signal).then(setFound, (error: unknown) => {
        // The form by password is there all the same, and says what is wrong with the server.
        if (!abort.signal.aborted) console.warn(error);
      });
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [tenant]);
  return found;
}
