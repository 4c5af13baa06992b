/** Who may use a tenant: users, keys and roles. */

export const ROLES = ['viewer', 'operator', 'analyst', 'admin'] as const;
export type Role = (typeof ROLES)[number];

export interface User {
  readonly id: string;
  readonly email: string;
  readonly name: string;
  readonly role: string;
  readonly disabled: boolean;
  readonly signedInMs: number | null;
}

export interface NewUser {
  readonly email: string;
  readonly name?: string;
  readonly role: Role;
  readonly password: string;
}

export interface UserChanges {
  readonly role?: Role;
  readonly password?: string;
  readonly disabled?: boolean;
}

export interface AccessKey {
  readonly id: string;
  readonly name: string;
  readonly role: string;
  readonly prefix: string;
  readonly expiresMs: number | null;
  readonly usedMs: number | null;
  readonly revoked: boolean;
  /** By a rotation: it cannot be replaced again. */
  readonly replaced: boolean;
}

export interface NewKey {
  readonly name: string;
  readonly role: Role;
  /** RFC 3339; left out: it never ends. */
  readonly expires_at?: string;
}

/** The API's own bounds, so that a person learns of them before sending. */
export const MIN_PASSWORD = 12;

export function isEmail(text: string): boolean {
  return /^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(text);
}
