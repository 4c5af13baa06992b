import { describe, expect, it } from 'vitest';
import { providersOf } from '../../src/api/providers';

const GOOD = { name: 'corp', title: 'Acme sign-on', url: '/v1/auth/oidc/corp/start' };
const signal = new AbortController().signal;

function answering(body: unknown, status = 200): typeof fetch {
  return async (url) => {
    expect(String(url)).toBe('/v1/auth/providers?tenant=acme');
    return new Response(JSON.stringify(body), { status });
  };
}

describe('the list of identity providers', () => {
  it('has a button for each', async () => {
    expect(await providersOf('acme', signal, answering({ providers: [GOOD] }))).toEqual([GOOD]);
  });

  it('leads nowhere but to the API', async () => {
    const foreign = { ...GOOD, url: 'https://evil.example/' };
    const script = { ...GOOD, url: 'javascript:alert(1)' };
    const body = { providers: [foreign, script, GOOD] };
    expect(await providersOf('acme', signal, answering(body))).toEqual([GOOD]);
  });

  it('fails where the API does', async () => {
    await expect(providersOf('acme', signal, answering({}, 503))).rejects.toThrow('503');
  });
});
