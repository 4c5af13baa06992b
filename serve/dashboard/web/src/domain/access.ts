/** Who may use a tenant: users, keys and roles. */

export const ROLES = ['viewer', 'operator', 'analyst', 'admin'] as const;
export type Role = (typeof ROLES)[number];

export interface User {
  readonly id: string;
  readonly email: string;
  readonly name: string;
  readonly role: string;
  /** Ids of the camera groups that it is limited to; null: all cameras. */
  readonly groups: readonly string[] | null;
  readonly disabled: boolean;
  readonly signedInMs: number | null;
  /** The identity provider at which they sign in; null: they have a password. */
  readonly provider: string | null;
}

/** An identity provider, at which people of an organization sign in. */
export interface Provider {
  readonly name: string;
  readonly title: string;
  /** Where the browser goes. */
  readonly url: string;
}

export interface NewUser {
  readonly email: string;
  readonly name?: string;
  readonly role: Role;
  readonly password: string;
  /** Left out: all cameras. */
  readonly groups?: readonly string[];
}

export interface UserChanges {
  readonly role?: Role;
  readonly password?: string;
  readonly disabled?: boolean;
  /** Null: all cameras. */
  readonly groups?: readonly string[] | null;
}

/** Cameras under one name, to which users and keys can be limited. */
export interface CameraGroup {
  readonly id: string;
  readonly name: string;
  readonly cameras: readonly string[];
}

export interface GroupBody {
  readonly name: string;
  readonly cameras: readonly string[];
}

export interface AccessKey {
  readonly id: string;
  readonly name: string;
  readonly role: string;
  readonly groups: readonly string[] | null;
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
  /** Left out: all cameras. */
  readonly groups?: readonly string[];
  /** RFC 3339; left out: it never ends. */
  readonly expires_at?: string;
}

/** The API's own bounds, so that a person learns of them before sending. */
export const MIN_PASSWORD = 12;

export function isEmail(text: string): boolean {
  return /^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(text);
}
