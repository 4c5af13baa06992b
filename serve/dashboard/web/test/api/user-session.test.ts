import { describe, expect, it } from 'vitest';
import { keyCredential } from '../../src/api/credential';
import { ApiError } from '../../src/api/errors';
import { UserSession } from '../../src/api/user-session';

const FORM = { tenant: 'acme', email: 'ana@acme.example', password: 'correct horse' };

interface Sent {
  readonly path: string;
  readonly body: unknown;
  readonly credentials: string | undefined;
}

/** A server that gives out tokens 1, 2, … for ten minutes each, until it is told to refuse. */
class Server {
  readonly sent: Sent[] = [];
  status = 200;
  nowMs = 0;
  /** What the next tokens say; null: tokens that say nothing. */
  claims: Record<string, string> | null = null;
  #tokens = 0;

  readonly options = {
    base: '',
    nowMs: () => this.nowMs,
    alone: <T>(task: () => Promise<T>) => task(),
    fetch: async (url: RequestInfo | URL, init?: RequestInit) => {
      const body: unknown = JSON.parse(String(init?.body));
      this.sent.push({ path: String(url), body, credentials: init?.credentials });
      if (this.status !== 200) return new Response('{"detail":"no"}', { status: this.status });
      this.#tokens += 1;
      return new Response(JSON.stringify({ access_token: this.#text(), expires_in: 600 }));
    },
  };

  #text(): string {
    if (this.claims === null) return `t${this.#tokens}`;
    const payload = btoa(JSON.stringify({ ...this.claims, gen: this.#tokens }));
    return `head.${payload.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}.sign`;
  }

  get paths(): readonly string[] {
    return this.sent.map(({ path }) => path);
  }
}

describe('a session', () => {
  it('signs in as a browser, with the cookie and without a token in the address', async () => {
    const server = new Server();
    const session = await UserSession.signIn(FORM, server.options);
    expect(await session.authorization()).toBe('Bearer t1');
    expect(server.sent).toEqual([
      { path: '/v1/auth/login', body: { ...FORM, client: 'browser' }, credentials: 'same-origin' },
    ]);
  });

  it('renews the token in its last minute, once for all who ask', async () => {
    const server = new Server();
    const session = await UserSession.signIn(FORM, server.options);
    server.nowMs = 539_000;
    expect(await session.authorization()).toBe('Bearer t1');
    server.nowMs = 540_000;
    const asked = await Promise.all([session.authorization(), session.authorization()]);
    expect(asked).toEqual(['Bearer t2', 'Bearer t2']);
    expect(server.paths).toEqual(['/v1/auth/login', '/v1/auth/refresh']);
  });

  it('renews a refused token once, whoever finds it refused', async () => {
    const server = new Server();
    const session = await UserSession.signIn(FORM, server.options);
    expect(await session.renew('Bearer t1')).toBe(true);
    expect(await session.renew('Bearer t1')).toBe(true);
    expect(await session.authorization()).toBe('Bearer t2');
    expect(server.paths).toHaveLength(2);
  });

  it('is over where the server refuses, and not where it cannot be reached', async () => {
    const server = new Server();
    const session = await UserSession.signIn(FORM, server.options);
    server.status = 503;
    await expect(session.renew('Bearer t1')).rejects.toMatchObject({ kind: 'unavailable' });
    server.status = 401;
    expect(await session.renew('Bearer t1')).toBe(false);
    await expect(session.authorization()).rejects.toMatchObject({ kind: 'unauthorized' });
  });

  it('goes on after a reload by the cookie alone', async () => {
    const server = new Server();
    const session = await UserSession.resume(server.options);
    expect(await session.authorization()).toBe('Bearer t1');
    expect(server.paths).toEqual(['/v1/auth/refresh']);
    server.status = 401;
    await expect(UserSession.resume(server.options)).rejects.toBeInstanceOf(ApiError);
  });

  it('ends on the server', async () => {
    const server = new Server();
    const session = await UserSession.signIn(FORM, server.options);
    await session.end();
    expect(server.paths.at(-1)).toBe('/v1/auth/logout');
  });

  it.each(['{}', '{"access_token":1,"expires_in":600}', '{"access_token":"t"}'])(
    'does not take %s for a token',
    async (body) => {
      const fetch = async () => new Response(body);
      const options = { base: '', fetch, alone: <T>(task: () => Promise<T>) => task() };
      await expect(UserSession.signIn(FORM, options)).rejects.toMatchObject({ kind: 'server' });
    },
  );
});

describe('whose a session is', () => {
  it('is what the tokens say, from one to the next', async () => {
    const server = new Server();
    server.claims = { tenant: 'acme', sub: 'ana' };
    const session = await UserSession.signIn(FORM, server.options);
    expect(await session.identity()).toBe('user/acme/ana');
    server.nowMs = 600_000;
    await session.authorization();
    expect([await session.identity(), session.replaced]).toEqual(['user/acme/ana', false]);
  });

  it('is unknown where they do not say', async () => {
    const server = new Server();
    expect(await (await UserSession.resume(server.options)).identity()).toBeNull();
    server.claims = { tenant: 'acme' };
    expect(await (await UserSession.resume(server.options)).identity()).toBeNull();
  });

  it.each([
    { tenant: 'acme', sub: 'bob' },
    { tenant: 'globex', sub: 'ana' },
  ])('cannot become that of $sub of $tenant, who signed in in another tab', async (other) => {
    const server = new Server();
    server.claims = { tenant: 'acme', sub: 'ana' };
    const session = await UserSession.signIn(FORM, server.options);
    server.claims = other;
    server.nowMs = 600_000;
    await expect(session.authorization()).rejects.toMatchObject({ kind: 'unauthorized' });
    expect(session.replaced).toBe(true);
    expect(await session.identity()).toBe('user/acme/ana');
    // It stays over.
    expect(await session.renew('Bearer whatever')).toBe(false);
  });
});

describe('whose a key is', () => {
  it('is told by its digest', async () => {
    // printf %s atk_one | sha256sum
    expect(await keyCredential('atk_one').identity()).toBe(
      'key/164f999794d50aa5fd9452c593716edfca7c44234844e86fa63112d518110410',
    );
    expect(await keyCredential('atk_two').identity()).not.toBe(
      await keyCredential('atk_one').identity(),
    );
  });
});
