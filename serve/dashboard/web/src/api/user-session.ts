/**
 * A person's session: a short-lived access token in memory, and a refresh token in a cookie that no
 * script can read. The token is renewed before it ends, by one tab at a time: a refresh token is
 * good for one use, and using it twice ends the session.
 */

import type { Credential } from './credential';
import { ApiError, kindOf, problemDetail } from './errors';

/** Renewed when less than this is left, so that no request arrives with a token that just ended. */
const RENEW_BEFORE_MS = 60_000;
const TIMEOUT_MS = 10_000;
const LOCK = 'atalaia.session';

export interface SignInForm {
  readonly tenant: string;
  readonly email: string;
  readonly password: string;
}

export interface SessionOptions {
  /** Origin and path that `/v1` hangs under; '' is the page's own. */
  readonly base: string;
  readonly fetch?: typeof fetch;
  readonly nowMs?: () => number;
  /** Runs a task while no other tab runs one. Default: the browser's locks, where it has them. */
  readonly alone?: <T>(task: () => Promise<T>) => Promise<T>;
}

interface Token {
  readonly text: string;
  readonly untilMs: number;
}

export class UserSession implements Credential {
  readonly #options: Required<SessionOptions>;
  #token: Token | null = null;
  #renewal: Promise<Token> | null = null;
  /** Tenant and user; null before the first token, and where tokens do not say. */
  #owner: string | null = null;
  #replaced = false;

  private constructor(options: SessionOptions) {
    this.#options = {
      fetch: (input, init) => fetch(input, init),
      nowMs: () => performance.now(),
      alone: aloneAmongTabs,
      ...options,
    };
  }

  /** Throws ApiError: 401 where any of the three is wrong. */
  static async signIn(form: SignInForm, options: SessionOptions): Promise<UserSession> {
    const session = new UserSession(options);
    session.#take(await session.#ask('/v1/auth/login', { ...form, client: 'browser' }));
    return session;
  }

  /** Goes on with the session whose cookie the browser holds. Throws ApiError: 401 without one. */
  static async resume(options: SessionOptions): Promise<UserSession> {
    const session = new UserSession(options);
    await session.#renew();
    return session;
  }

  async authorization(): Promise<string> {
    const token = this.#token;
    const fresh = token !== null && token.untilMs - this.#options.nowMs() > RENEW_BEFORE_MS;
    return header(fresh ? token : await this.#renew());
  }

  async renew(refused: string): Promise<boolean> {
    if (this.#token !== null && header(this.#token) !== refused) return true;
    this.#token = null;
    try {
      await this.#renew();
      return true;
    } catch (error) {
      if (error instanceof ApiError && error.kind === 'unauthorized') return false;
      throw error;
    }
  }

  async identity(): Promise<string | null> {
    return this.#owner;
  }

  /** Whether it is over because somebody else has signed in, in another tab. */
  get replaced(): boolean {
    return this.#replaced;
  }

  /** Ends the session on the server. Throws ApiError where it cannot be reached. */
  async end(): Promise<void> {
    this.#token = null;
    await this.#post('/v1/auth/logout', {});
  }

  #renew(): Promise<Token> {
    this.#renewal ??= this.#options
      .alone(() => this.#ask('/v1/auth/refresh', {}))
      .then((token) => this.#take(token))
      .finally(() => {
        this.#renewal = null;
      });
    return this.#renewal;
  }

  /** All tabs have one cookie: it may be another person's by now, of whom this page shows nothing. */
  #take(token: Token): Token {
    const owner = ownerOf(token.text);
    if (this.#owner !== null && owner !== this.#owner) {
      this.#replaced = true;
      this.#token = null;
      throw new ApiError('unauthorized', 'somebody else has signed in');
    }
    this.#owner = owner;
    this.#token = token;
    return token;
  }

  async #ask(path: string, body: object): Promise<Token> {
    const askedMs = this.#options.nowMs();
    const response = await this.#post(path, body);
    const { access_token: text, expires_in: seconds } = (await response.json()) as {
      access_token?: unknown;
      expires_in?: unknown;
    };
    if (typeof text !== 'string' || typeof seconds !== 'number') {
      throw new ApiError('server', 'the answer has no access token', response.status);
    }
    return { text, untilMs: askedMs + seconds * 1_000 };
  }

  async #post(path: string, body: object): Promise<Response> {
    let response: Response;
    try {
      response = await this.#options.fetch(this.#options.base + path, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
        // The cookie, which is sent to /v1/auth and nowhere else.
        credentials: 'same-origin',
        cache: 'no-store',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch (error) {
      throw new ApiError('network', error instanceof Error ? error.message : '');
    }
    if (response.ok) return response;
    const problem: unknown = await response.json().catch(() => null);
    throw new ApiError(kindOf(response.status, problem), problemDetail(problem), response.status);
  }
}

function header(token: Token): string {
  return `Bearer ${token.text}`;
}

/** Whose an access token is. The API checks the token; the page only tells one person from another. */
function ownerOf(token: string): string | null {
  const payload = token.split('.')[1]?.replaceAll('-', '+').replaceAll('_', '/');
  try {
    const { tenant, sub } = (JSON.parse(atob(payload ?? '')) ?? {}) as Record<string, unknown>;
    return typeof tenant === 'string' && typeof sub === 'string' ? `user/${tenant}/${sub}` : null;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof DOMException) return null;
    throw error;
  }
}

/** Browsers have locks only where the page came by HTTPS or from this machine. */
function aloneAmongTabs<T>(task: () => Promise<T>): Promise<T> {
  return navigator.locks ? navigator.locks.request(LOCK, task) : task();
}
