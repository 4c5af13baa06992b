/** Where else than by password people of an organization sign in: at its identity provider. */

import type { Provider } from '../domain/access';
import { decodeProviders } from '../domain/decode';

const PREFIX = '/v1/auth/oidc/';
const TIMEOUT_MS = 10_000;

/** Throws where the API cannot be asked. */
export async function providersOf(
  tenant: string,
  signal: AbortSignal,
  ask: typeof fetch = (input, init) => fetch(input, init),
): Promise<readonly Provider[]> {
  const response = await ask(`/v1/auth/providers?tenant=${encodeURIComponent(tenant)}`, {
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  });
  if (!response.ok) throw new Error(`the list of providers: ${response.status}`);
  // The page sends nobody anywhere else.
  return decodeProviders(await response.json()).filter(({ url }) => url.startsWith(PREFIX));
}
