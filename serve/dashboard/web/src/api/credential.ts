/** Who the page is to the API: a key, or a person who has signed in (user-session.ts). */

export interface Credential {
  /** Value of the Authorization header. Throws ApiError where a new token cannot be had now. */
  authorization(): Promise<string>;
  /** The API refused that value. Whether there is another one to try. Throws ApiError. */
  renew(refused: string): Promise<boolean>;
  /** Names who it is, to tabs of this browser only; null where the page cannot know. No secret. */
  identity(): Promise<string | null>;
}

export function keyCredential(key: string): Credential {
  return {
    authorization: async () => `Bearer ${key}`,
    renew: async () => false,
    identity: () => keyIdentity(key),
  };
}

/** Two keys of one organization may see different cameras, so each is somebody else. */
async function keyIdentity(key: string): Promise<string | null> {
  // Browsers have it where they have locks: by HTTPS, or from this machine.
  if (!globalThis.crypto?.subtle) return null;
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(key));
  const hex = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0'));
  return `key/${hex.join('')}`;
}
