import { describe, expect, it, vi } from 'vitest';
import { Api } from '../../src/api/client';
import { type Credential, keyCredential } from '../../src/api/credential';
import { ApiError, problemDetail } from '../../src/api/errors';
import { alarmJson, cameraJson, objectJson } from '../samples';

const KEY = 'atk_12345678_secret';

function apiThat(
  answer: () => Response | Promise<Response>,
  credential: Credential = keyCredential(KEY),
) {
  const requests: { url: string; init: RequestInit }[] = [];
  const onUnauthorized = vi.fn();
  const api = new Api({
    base: '',
    credential,
    onUnauthorized,
    fetch: async (url, init) => {
      requests.push({ url: String(url), init: init ?? {} });
      return answer();
    },
  });
  return { api, requests, onUnauthorized };
}

const json = (body: unknown, status = 200) => new Response(JSON.stringify(body), { status });

describe('Api', () => {
  it('sends the key in the header, and never in the address', async () => {
    const { api, requests } = apiThat(() => json({ alarms: [alarmJson()], next_cursor: 'c2' }));
    const page = await api.alarms(30, 'c1');
    expect(page.nextCursor).toBe('c2');
    const [request] = requests;
    expect(request?.url).toBe('/v1/alarms?limit=30&cursor=c1');
    expect(new Headers(request?.init.headers).get('Authorization')).toBe(`Bearer ${KEY}`);
    expect(request?.url).not.toContain('atk_');
  });

  it('asks for what was seen without the key: the path is the permission', async () => {
    const { api, requests } = apiThat(() => json({ frames: [] }));
    expect(await api.seen('/media/a.b.c')).toEqual([]);
    expect(new Headers(requests[0]?.init.headers).has('Authorization')).toBe(false);
  });

  it('asks for objects, and for others that look like one, narrowed', async () => {
    const { api, requests } = apiThat(() =>
      json({ objects: [objectJson({ track: '19ab-8c-0-traffic%20light' })], matches: [] }),
    );
    const kind = { camera: '', label: 'person', colour: 'red' } as const;
    const filter = { ...kind, fromMs: null, toMs: null };
    const [object] = await api.objects(40, filter);
    if (!object) throw new Error('no object');
    await api.like(object, { ...filter, camera: 'yard' });
    await api.search(new Blob(), { ...filter, fromMs: 0, toMs: Date.UTC(2026, 0, 31, 8) });
    expect(requests.map((request) => request.url)).toEqual([
      '/v1/objects?limit=40&class=person&colour=red',
      '/v1/search?like=19ab-8c-0-traffic%2520light&like_camera=gate&camera=yard&class=person&colour=red',
      '/v1/search?class=person&colour=red&since=1970-01-01T00%3A00%3A00.000Z&until=2026-01-31T08%3A00%3A00.000Z',
    ]);
    expect(requests[1]?.init).toMatchObject({ method: 'POST', body: null });
  });

  it('asks for the stream after an id', async () => {
    const { api, requests } = apiThat(() => new Response('data: x\n\n'));
    await api.alarmStream('5-1', new AbortController().signal);
    expect(new Headers(requests[0]?.init.headers).get('Last-Event-ID')).toBe('5-1');
  });

  it.each([
    [401, 'unauthorized', false],
    [403, 'forbidden', false],
    [404, 'not-found', false],
    [409, 'conflict', false],
    [413, 'too-large', false],
    [422, 'invalid', false],
    [429, 'too-many', true],
    [500, 'server', true],
    [503, 'unavailable', true],
  ] as const)('turns %i into %s', async (status, kind, retryable) => {
    const { api, onUnauthorized } = apiThat(() => json({ detail: 'why', hint: 'do this' }, status));
    const error = await api.cameras().catch((e: unknown) => e);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ kind, retryable, status, detail: 'why do this' });
    expect(onUnauthorized).toHaveBeenCalledTimes(status === 401 ? 1 : 0);
  });

  it('sends a request again with a renewed token, once', async () => {
    let token = 1;
    const renewable: Credential = {
      authorization: async () => `Bearer ${token}`,
      renew: async () => {
        token += 1;
        return true;
      },
      identity: async () => null,
    };
    const answers = [json({}, 401), json({ cameras: [] })];
    const good = apiThat(() => answers.shift() ?? json({}, 500), renewable);
    expect(await good.api.cameras()).toEqual([]);
    const sent = good.requests.map(({ init }) => new Headers(init.headers).get('Authorization'));
    expect(sent).toEqual(['Bearer 1', 'Bearer 2']);
    expect(good.onUnauthorized).not.toHaveBeenCalled();

    const bad = apiThat(() => json({}, 401), renewable);
    await expect(bad.api.cameras()).rejects.toMatchObject({ kind: 'unauthorized' });
    expect(bad.requests).toHaveLength(2);
    expect(bad.onUnauthorized).toHaveBeenCalledTimes(1);
  });

  it.each([409, 507])('tells a limit from what else is answered with %i', async (status) => {
    const { api } = apiThat(() => json({ code: 'quota-exceeded', detail: '5 of 5.' }, status));
    await expect(api.cameras()).rejects.toMatchObject({ kind: 'quota', retryable: false });
    const other = apiThat(() => json({ code: 'error', detail: 'Taken.' }, status));
    await expect(other.api.cameras()).rejects.not.toMatchObject({ kind: 'quota' });
  });

  it('reads the warnings of a new rule', async () => {
    const rule = {
      id: 'edge',
      kind: 'line_cross',
      line: [
        [0, 0],
        [0, 1],
      ],
      classes: [],
    };
    const { api } = apiThat(() => json({ ...rule, warnings: ['too near'] }, 201));
    const added = await api.addRule('gate', {} as never);
    expect(added).toMatchObject({ rule: { id: 'edge' }, warnings: ['too near'] });
  });

  it('calls a request that never arrived a network error', async () => {
    const { api } = apiThat(() => Promise.reject(new TypeError('Failed to fetch')));
    await expect(api.cameras()).rejects.toMatchObject({ kind: 'network' });
  });

  it('calls a page of a proxy a server error', async () => {
    const { api } = apiThat(() => new Response('<html>', { status: 200 }));
    await expect(api.cameras()).rejects.toMatchObject({ kind: 'server' });
  });

  it.each(['https://elsewhere.example/x.jpg', '//elsewhere/v1/x', '/v1/../keys', 'v1/a', '/x'])(
    'does not send the key to %s',
    async (path) => {
      const { api, requests } = apiThat(() => new Response('jpeg'));
      await expect(api.picture(path)).rejects.toBeInstanceOf(ApiError);
      expect(requests).toEqual([]);
    },
  );

  it('reads who is signed in', async () => {
    const { api } = apiThat(() =>
      json({ kind: 'tenant', tenant: 'acme', role: 'viewer', permissions: ['live.watch'] }),
    );
    const session = await api.session();
    expect(session).toMatchObject({ tenant: 'acme', role: 'viewer' });
    expect([...session.permissions]).toEqual(['live.watch']);
    expect(session.user).toBe(false);
  });

  it('reads the audit log by filters and pages', async () => {
    const entry = {
      sequence: 7,
      at: '2026-01-31T08:15:03.120456Z',
      actor: 'user:1',
      action: 'rule.add',
      object: { kind: 'rule', id: 'gate/yard' },
      address: null,
      outcome: 'refused',
      reason: '403 Forbidden',
      details: { fields: ['name'] },
    };
    const { api, requests } = apiThat(() => json({ entries: [entry], next_cursor: '6' }));
    const page = await api.audit({ actor: 'user:1', action: '' }, '8');
    expect(requests[0]?.url).toBe('/v1/audit?limit=100&actor=user%3A1&cursor=8');
    expect(page.nextCursor).toBe('6');
    expect(page.items).toMatchObject([{ sequence: 7, object: 'rule gate/yard', refused: true }]);
  });

  it('manages users and keys', async () => {
    const user = { id: 'u1', email: 'ana@acme.example', name: 'Ana', role: 'viewer' };
    const key = { id: 'k1', name: 'till', role: 'operator', prefix: 'atk_k1_', revoked_at: null };
    const bodies: unknown[] = [
      {
        users: [{ ...user, disabled: false, signed_in_at: '2026-01-31T08:00:00Z' }],
        next_cursor: null,
      },
      { ...user, disabled: true, signed_in_at: null },
      { keys: [{ ...key, replaced_by: 'k0' }], next_cursor: '1.k1' },
      { keys: [{ ...key, revoked_at: '2026-01-31T08:00:00Z' }], next_cursor: null },
      { ...key, key: 'atk_k2_secret' },
    ];
    const { api, requests } = apiThat(() => json(bodies.shift()));
    const signedInMs = Date.UTC(2026, 0, 31, 8);
    const shown = { ...user, groups: null, disabled: false, signedInMs, provider: null };
    expect(await api.users()).toEqual([shown]);
    const changed = await api.changeUser('u/1', { disabled: true });
    expect(changed).toMatchObject({ disabled: true, signedInMs: null });
    expect((await api.keys()).map(({ revoked, replaced }) => [revoked, replaced])).toEqual([
      [false, true],
      [true, false],
    ]);
    expect(await api.rotateKey('k1', 3_600)).toBe('atk_k2_secret');
    expect(requests.map(({ url, init }) => [init.method, url, init.body])).toEqual([
      ['GET', '/v1/users', null],
      ['PATCH', '/v1/users/u%2F1', '{"disabled":true}'],
      ['GET', '/v1/keys', null],
      ['GET', '/v1/keys?cursor=1.k1', null],
      ['POST', '/v1/keys/k1/rotate', '{"overlap_s":3600}'],
    ]);
  });

  it('manages camera groups', async () => {
    const group = { id: 'door', name: 'Door', cameras: ['gate'] };
    const limited = { id: 'k1', name: 'till', role: 'viewer', groups: ['door'] };
    const bodies: unknown[] = [{ groups: [group] }, group, group, { keys: [limited] }];
    const { api, requests } = apiThat(() => json(bodies.shift()));
    expect(await api.groups()).toEqual([group]);
    expect(await api.addGroup({ name: 'Door', cameras: ['gate'] })).toEqual(group);
    expect(await api.changeGroup('do/or', { name: 'Door', cameras: [] })).toEqual(group);
    expect((await api.keys())[0]?.groups).toEqual(['door']);
    expect(requests.map(({ url, init }) => [init.method, url, init.body])).toEqual([
      ['GET', '/v1/groups', null],
      ['POST', '/v1/groups', '{"name":"Door","cameras":["gate"]}'],
      ['PATCH', '/v1/groups/do%2For', '{"name":"Door","cameras":[]}'],
      ['GET', '/v1/keys', null],
    ]);
  });

  it('changes the own password', async () => {
    const { api, requests } = apiThat(() => new Response(null, { status: 204 }));
    await api.changeOwnPassword('old', 'new');
    expect(requests.map(({ url, init }) => [init.method, url, init.body])).toEqual([
      ['POST', '/v1/auth/password', '{"current":"old","new":"new"}'],
    ]);
  });

  it('reads cameras', async () => {
    const { api } = apiThat(() => json({ cameras: [cameraJson()] }));
    expect(await api.cameras()).toMatchObject([
      { id: 'gate', fps: 25, width: 1920, watchedFps: 5 },
    ]);
  });

  it('asks for the room without masks by a route of its own', async () => {
    const room = { url: 'ws://a', room: 'acme.gate.unmasked', token: 'token', masked: false };
    const { api, requests } = apiThat(() => json(room));
    const { url, token } = await api.joinUnmasked('do/or');
    expect([url, token]).toEqual(['ws://a', 'token']);
    await api.join('do/or');
    expect(requests.map(({ url, init }) => [init.method, url])).toEqual([
      ['POST', '/v1/cameras/do%2For/join/unmasked'],
      ['POST', '/v1/cameras/do%2For/join'],
    ]);
  });

  it('knows which cameras are masked', async () => {
    const corner = [
      [0, 0],
      [0.3, 0],
      [0.3, 0.2],
    ];
    const cameras = [cameraJson({ masks: [corner] }), cameraJson({ masks: [] }), cameraJson()];
    const { api } = apiThat(() => json({ cameras }));
    expect((await api.cameras()).map(({ masked }) => masked)).toEqual([true, false, false]);
  });
});

describe('problemDetail', () => {
  it.each([
    [null, ''],
    ['text', ''],
    [{ title: 'Conflict' }, 'Conflict'],
    [{ title: 'Conflict', detail: 'There is one.' }, 'There is one.'],
    [
      { detail: 'Wrong fields.', errors: [{ detail: 'url is too long' }], hint: 'Shorten it.' },
      'Wrong fields. url is too long Shorten it.',
    ],
    [{ detail: 'Same.', errors: [{ detail: 'Same.' }] }, 'Same.'],
  ])('of %j is %j', (body, expected) => {
    expect(problemDetail(body)).toBe(expected);
  });
});
