/** Who the page is to the API: a key, or a person who has signed in (user-session.ts). */

export interface Credential {
  /** Value of the Authorization header. Throws ApiError where a new token cannot be had now. */
  authorization(): Promise<string>;
  /** The API refused that value. Whether there is another one to try. Throws ApiError. */
  renew(refused: string): Promise<boolean>;
}

export function keyCredential(key: string): Credential {
  return {
    authorization: async () => `Bearer ${key}`,
    renew: async () => false,
  };
}
