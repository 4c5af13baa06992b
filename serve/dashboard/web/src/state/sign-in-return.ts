/** What the address says when a browser comes back from an identity provider. */

import { SLUG } from '../domain/slug';

export const FAILURES = ['denied', 'expired', 'not-allowed', 'unavailable'] as const;
export type SignInFailure = (typeof FAILURES)[number];

export type SignInReturn =
  | { readonly tenant: string; readonly failure: null }
  | { readonly tenant: null; readonly failure: SignInFailure };

/** Reads it, once: the address is cleaned. Null: the browser comes from nowhere. */
export function takeSignInReturn(
  address: string = location.href,
  clean: (path: string) => void = (path) => history.replaceState(null, '', path),
): SignInReturn | null {
  const url = new URL(address);
  const tenant = url.searchParams.get('signed-in');
  const failure = url.searchParams.get('sign-in');
  if (tenant === null && failure === null) return null;
  url.searchParams.delete('signed-in');
  url.searchParams.delete('sign-in');
  clean(url.pathname + url.search + url.hash);
  const known = FAILURES.find((one) => one === failure);
  if (known !== undefined) return { tenant: null, failure: known };
  return tenant !== null && SLUG.test(tenant) ? { tenant, failure: null } : null;
}
