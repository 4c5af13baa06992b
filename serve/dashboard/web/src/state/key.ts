/**
 * The access key: in memory, and in this tab's sessionStorage only if the user chose so. It is never
 * part of an address, so it reaches no history, log or referrer.
 */

const STORAGE_KEY = 'atalaia.key';

/** A header value of other characters would be refused by fetch, or be something pasted by mistake. */
export function isWellFormedKey(key: string): boolean {
  return /^[\w-]{8,200}$/.test(key);
}

export function rememberedKey(storage: Storage = sessionStorage): string | null {
  const key = storage.getItem(STORAGE_KEY);
  return key !== null && isWellFormedKey(key) ? key : null;
}

export function rememberKey(key: string, storage: Storage = sessionStorage): void {
  storage.setItem(STORAGE_KEY, key);
}

export function forgetKey(storage: Storage = sessionStorage): void {
  storage.removeItem(STORAGE_KEY);
}
