/**
 * Which organization a person of this browser signed in to. No secret: it tells the page that there
 * is a session to go on with, and the other tabs that it has ended.
 */

const STORAGE_KEY = 'atalaia.tenant';
const ACTIVE_KEY = 'atalaia.session';

/** What the sign-in form begins with. */
export function lastTenant(storage: Storage = localStorage): string {
  return storage.getItem(STORAGE_KEY) ?? '';
}

export function isSignedIn(storage: Storage = localStorage): boolean {
  return storage.getItem(ACTIVE_KEY) !== null;
}

export function noteSignedIn(tenant: string, storage: Storage = localStorage): void {
  storage.setItem(STORAGE_KEY, tenant);
  storage.setItem(ACTIVE_KEY, 'user');
}

export function noteSignedOut(storage: Storage = localStorage): void {
  storage.removeItem(ACTIVE_KEY);
}

/** Calls back when another tab signs out. */
export function onSignedOutElsewhere(callback: () => void, signal: AbortSignal): void {
  window.addEventListener(
    'storage',
    (event) => {
      if (event.key === ACTIVE_KEY && event.newValue === null) callback();
    },
    { signal },
  );
}
