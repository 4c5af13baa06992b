/** The HTTP contract of Atalaia, one method per operation. The credential travels in a header, nowhere
 * else. */

import type {
  AccessKey,
  CameraGroup,
  GroupBody,
  NewKey,
  NewUser,
  User,
  UserChanges,
} from '../domain/access';
import type { Anonymisation } from '../domain/anonymisation';
import {
  decodeAlarm,
  decodeAlarmPage,
  decodeAnonymisation,
  decodeAuditPage,
  decodeCamera,
  decodeCameras,
  decodeClip,
  decodeCoverage,
  decodeErasure,
  decodeFreshKey,
  decodeGroup,
  decodeGroups,
  decodeJoin,
  decodeKeys,
  decodeMatches,
  decodeObjects,
  decodeRule,
  decodeRules,
  decodeSeen,
  decodeSession,
  decodeUser,
  decodeUsers,
  decodeWarnings,
  nextCursor,
} from '../domain/decode';
import type {
  Alarm,
  AlarmPage,
  AuditFilter,
  AuditPage,
  Camera,
  Clip,
  CoverageByCamera,
  Erasure,
  JoinGrant,
  Match,
  NewCamera,
  Rule,
  RuleBody,
  SeenFrame,
  Session,
  Sighting,
  SightingFilter,
} from '../domain/types';
import type { Credential } from './credential';
import { ApiError, kindOf, problemDetail } from './errors';

const TIMEOUT_MS = 10_000;
/** A search uploads a picture and runs a model. */
const UPLOAD_TIMEOUT_MS = 60_000;
const CLIP_TIMEOUT_MS = 30_000;
const AUDIT_PAGE = 100;

export interface ApiOptions {
  /** Origin and path that `/v1` hangs under; '' is the page's own. */
  readonly base: string;
  readonly credential: Credential;
  /** The credential stopped being good. */
  readonly onUnauthorized?: () => void;
  readonly fetch?: typeof fetch;
}

interface RequestOptions {
  readonly method?: string;
  readonly json?: unknown;
  readonly form?: FormData;
  readonly headers?: Record<string, string>;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | null;
  /** Without the credential. */
  readonly anonymous?: boolean;
}

export class Api {
  readonly #options: ApiOptions;
  readonly #fetch: typeof fetch;

  constructor(options: ApiOptions) {
    this.#options = options;
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
  }

  /** Who the credential is, and what it may do. */
  async session(signal?: AbortSignal): Promise<Session> {
    return decodeSession(await this.#json('/v1/session', { signal }));
  }

  async cameras(signal?: AbortSignal): Promise<readonly Camera[]> {
    return decodeCameras(await this.#json('/v1/cameras', { signal }));
  }

  /** How long each camera was analysed and blind since a time. */
  async coverage(sinceMs: number, signal?: AbortSignal): Promise<CoverageByCamera> {
    // The totals are on every page of gaps, and the page needs nothing else.
    const query = new URLSearchParams({ since: new Date(sinceMs).toISOString(), limit: '1' });
    return decodeCoverage(await this.#json(`/v1/coverage?${query}`, { signal }));
  }

  async addCamera(camera: NewCamera): Promise<Camera> {
    return decodeCamera(await this.#json('/v1/cameras', { method: 'POST', json: camera }));
  }

  async removeCamera(camera: string): Promise<void> {
    await this.#send(`/v1/cameras/${encodeURIComponent(camera)}`, { method: 'DELETE' });
  }

  async join(camera: string, signal?: AbortSignal): Promise<JoinGrant> {
    const path = `/v1/cameras/${encodeURIComponent(camera)}/join`;
    return decodeJoin(await this.#json(path, { method: 'POST', signal }));
  }

  /** For the room without privacy masks. Each call is in the audit log. */
  async joinUnmasked(camera: string, signal?: AbortSignal): Promise<JoinGrant> {
    const path = `/v1/cameras/${encodeURIComponent(camera)}/join/unmasked`;
    return decodeJoin(await this.#json(path, { method: 'POST', signal }));
  }

  cameraSnapshot(camera: string, signal?: AbortSignal): Promise<Blob> {
    return this.picture(`/v1/cameras/${encodeURIComponent(camera)}/snapshot`, signal);
  }

  async rules(camera: string, signal?: AbortSignal): Promise<readonly Rule[]> {
    return decodeRules(
      await this.#json(`/v1/cameras/${encodeURIComponent(camera)}/rules`, { signal }),
    );
  }

  async addRule(
    camera: string,
    rule: RuleBody,
  ): Promise<{ readonly rule: Rule; readonly warnings: readonly string[] }> {
    const path = `/v1/cameras/${encodeURIComponent(camera)}/rules`;
    const body = await this.#json(path, { method: 'POST', json: rule });
    return { rule: decodeRule(body), warnings: decodeWarnings(body) };
  }

  async removeRule(camera: string, rule: string): Promise<void> {
    const path = `/v1/cameras/${encodeURIComponent(camera)}/rules/${encodeURIComponent(rule)}`;
    await this.#send(path, { method: 'DELETE' });
  }

  async users(signal?: AbortSignal): Promise<readonly User[]> {
    const users = await this.#all('/v1/users', decodeUsers, signal);
    return [...users].sort((one, other) => (one.email < other.email ? -1 : 1));
  }

  async addUser(user: NewUser): Promise<User> {
    return decodeUser(await this.#json('/v1/users', { method: 'POST', json: user }));
  }

  async changeUser(user: string, changes: UserChanges): Promise<User> {
    const path = `/v1/users/${encodeURIComponent(user)}`;
    return decodeUser(await this.#json(path, { method: 'PATCH', json: changes }));
  }

  async removeUser(user: string): Promise<void> {
    await this.#send(`/v1/users/${encodeURIComponent(user)}`, { method: 'DELETE' });
  }

  /** Ends the person's other sessions. */
  async changeOwnPassword(current: string, fresh: string): Promise<void> {
    const json = { current, new: fresh };
    await this.#send('/v1/auth/password', { method: 'POST', json });
  }

  async keys(signal?: AbortSignal): Promise<readonly AccessKey[]> {
    return this.#all('/v1/keys', decodeKeys, signal);
  }

  /** The new key itself, which nobody can read again. */
  async issueKey(key: NewKey): Promise<string> {
    return decodeFreshKey(await this.#json('/v1/keys', { method: 'POST', json: key }));
  }

  /** The new key; the old one works on for `overlapS` seconds. */
  async rotateKey(key: string, overlapS: number): Promise<string> {
    const path = `/v1/keys/${encodeURIComponent(key)}/rotate`;
    const json = { overlap_s: overlapS };
    return decodeFreshKey(await this.#json(path, { method: 'POST', json }));
  }

  async revokeKey(key: string): Promise<void> {
    await this.#send(`/v1/keys/${encodeURIComponent(key)}`, { method: 'DELETE' });
  }

  async groups(signal?: AbortSignal): Promise<readonly CameraGroup[]> {
    return decodeGroups(await this.#json('/v1/groups', { signal }));
  }

  async addGroup(group: GroupBody): Promise<CameraGroup> {
    return decodeGroup(await this.#json('/v1/groups', { method: 'POST', json: group }));
  }

  async changeGroup(group: string, changes: GroupBody): Promise<CameraGroup> {
    const path = `/v1/groups/${encodeURIComponent(group)}`;
    return decodeGroup(await this.#json(path, { method: 'PATCH', json: changes }));
  }

  async removeGroup(group: string): Promise<void> {
    await this.#send(`/v1/groups/${encodeURIComponent(group)}`, { method: 'DELETE' });
  }

  /** The audit log, newest first. */
  async audit(
    filter: AuditFilter,
    cursor: string | null,
    signal?: AbortSignal,
  ): Promise<AuditPage> {
    const query = new URLSearchParams({ limit: String(AUDIT_PAGE) });
    if (filter.actor) query.set('actor', filter.actor);
    if (filter.action) query.set('action', filter.action);
    if (cursor) query.set('cursor', cursor);
    return decodeAuditPage(await this.#json(`/v1/audit?${query}`, { signal }));
  }

  async alarms(limit: number, cursor?: string | null, signal?: AbortSignal): Promise<AlarmPage> {
    const query = new URLSearchParams({ limit: String(limit) });
    if (cursor) query.set('cursor', cursor);
    return decodeAlarmPage(await this.#json(`/v1/alarms?${query}`, { signal }));
  }

  async acknowledge(alarm: string): Promise<Alarm> {
    const path = `/v1/alarms/${encodeURIComponent(alarm)}/ack`;
    return decodeAlarm(await this.#json(path, { method: 'POST' }));
  }

  async clip(alarm: string, signal?: AbortSignal): Promise<Clip> {
    const path = `/v1/alarms/${encodeURIComponent(alarm)}/clip`;
    // It may be made right then, from object storage.
    return decodeClip(await this.#json(path, { signal, timeoutMs: CLIP_TIMEOUT_MS }));
  }

  /** From now on the originals of an alarm, for whoever asks; the reason goes to the audit log. */
  async reveal(alarm: string, reason: string, minutes: number): Promise<void> {
    await this.#send('/v1/reveals', { method: 'POST', json: { alarm, reason, minutes } });
  }

  async endReveal(reveal: string): Promise<void> {
    await this.#send(`/v1/reveals/${encodeURIComponent(reveal)}`, { method: 'DELETE' });
  }

  async anonymisation(signal?: AbortSignal): Promise<Anonymisation> {
    return decodeAnonymisation(await this.#json('/v1/policies/anonymisation', { signal }));
  }

  async setAnonymisation(policy: Anonymisation): Promise<Anonymisation> {
    const { keepAudio, ...rest } = policy;
    const json = { ...rest, keep_audio: keepAudio };
    return decodeAnonymisation(
      await this.#json('/v1/policies/anonymisation', { method: 'PUT', json }),
    );
  }

  /** What was seen in a clip. Its path is a permission in itself: the credential stays at home. */
  async seen(path: string, signal?: AbortSignal): Promise<readonly SeenFrame[]> {
    return decodeSeen(await this.#json(path, { signal, anonymous: true }));
  }

  /** Who the credential is, to other tabs of this browser; null where the page cannot know. */
  identity(): Promise<string | null> {
    return this.#options.credential.identity();
  }

  /** The live stream of alarms, as bytes; ended by the signal only. */
  async alarmStream(lastEventId: string, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const headers: Record<string, string> = { Accept: 'text/event-stream' };
    if (lastEventId) headers['Last-Event-ID'] = lastEventId;
    const response = await this.#send('/v1/alarms/stream', { headers, signal, timeoutMs: null });
    if (!response.body) throw new ApiError('server', 'the stream has no body', response.status);
    return response.body;
  }

  /** What was seen last, newest first. */
  async objects(
    limit: number,
    filter: SightingFilter,
    signal?: AbortSignal,
  ): Promise<readonly Sighting[]> {
    const query = narrowed(filter, { limit: String(limit) });
    return decodeObjects(await this.#json(`/v1/objects?${query}`, { signal }));
  }

  async search(
    picture: Blob,
    filter: SightingFilter,
    signal?: AbortSignal,
  ): Promise<readonly Match[]> {
    const form = new FormData();
    form.set('image', picture);
    return decodeMatches(
      await this.#json(`/v1/search?${narrowed(filter)}`, {
        method: 'POST',
        form,
        signal,
        timeoutMs: UPLOAD_TIMEOUT_MS,
      }),
    );
  }

  /** Others that look like an object that was seen. */
  async like(
    object: Sighting,
    filter: SightingFilter,
    signal?: AbortSignal,
  ): Promise<readonly Match[]> {
    const query = narrowed(filter, { like: object.track, like_camera: object.camera });
    return decodeMatches(await this.#json(`/v1/search?${query}`, { method: 'POST', signal }));
  }

  /** Begins to erase an object from every store; it cannot be undone. */
  async erase(object: Sighting, reason: string): Promise<Erasure> {
    const subject = { object: object.track, camera: object.camera };
    const json = { subject, reason };
    return decodeErasure(await this.#json('/v1/erasures', { method: 'POST', json }));
  }

  async erasure(id: string, signal?: AbortSignal): Promise<Erasure> {
    return decodeErasure(await this.#json(`/v1/erasures/${encodeURIComponent(id)}`, { signal }));
  }

  /** A picture at a path that the API gave. Other addresses are refused: the credential goes with
   * it. */
  async picture(path: string, signal?: AbortSignal): Promise<Blob> {
    if (!/^\/v1\/[\w\-./%]+$/.test(path) || path.includes('..')) {
      throw new ApiError('invalid', `not a picture of this API: ${path}`);
    }
    return (await this.#send(path, { signal })).blob();
  }

  /** A list that comes in pages, all of it. */
  async #all<Item>(
    path: string,
    decode: (body: unknown) => readonly Item[],
    signal: AbortSignal | undefined,
  ): Promise<readonly Item[]> {
    const items: Item[] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const query: string = cursor === '' ? '' : `?${new URLSearchParams({ cursor })}`;
      const body = await this.#json(`${path}${query}`, { signal });
      items.push(...decode(body));
      cursor = nextCursor(body);
    }
    return items;
  }

  async #json(path: string, options: RequestOptions): Promise<unknown> {
    const response = await this.#send(path, options);
    try {
      return await response.json();
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new ApiError('server', 'the answer is not JSON', response.status);
    }
  }

  async #send(path: string, options: RequestOptions): Promise<Response> {
    if (options.anonymous) return this.#sendAs(null, path, options);
    try {
      return await this.#sendSigned(path, options);
    } catch (error) {
      if (isUnauthorized(error)) this.#options.onUnauthorized?.();
      throw error;
    }
  }

  /** A token that has just ended is renewed, and the request sent once more. */
  async #sendSigned(path: string, options: RequestOptions): Promise<Response> {
    const { credential } = this.#options;
    const authorization = await credential.authorization();
    try {
      return await this.#sendAs(authorization, path, options);
    } catch (error) {
      if (!isUnauthorized(error) || !(await credential.renew(authorization))) throw error;
    }
    return this.#sendAs(await credential.authorization(), path, options);
  }

  async #sendAs(
    authorization: string | null,
    path: string,
    options: RequestOptions,
  ): Promise<Response> {
    const { json, form, timeoutMs = TIMEOUT_MS } = options;
    const signals = [options.signal, timeoutMs === null ? null : AbortSignal.timeout(timeoutMs)];
    const headers: Record<string, string> = { ...options.headers };
    if (authorization !== null) headers.Authorization = authorization;
    if (json !== undefined) headers['Content-Type'] = 'application/json';
    let response: Response;
    try {
      response = await this.#fetch(this.#options.base + path, {
        method: options.method ?? 'GET',
        headers,
        body: json === undefined ? (form ?? null) : JSON.stringify(json),
        signal: AbortSignal.any(signals.filter((s): s is AbortSignal => s != null)),
        credentials: 'omit',
        cache: 'no-store',
      });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new ApiError('network', error instanceof Error ? error.message : '');
    }
    if (response.ok) return response;
    const problem = await readJson(response);
    throw new ApiError(kindOf(response.status, problem), problemDetail(problem), response.status);
  }
}

function isUnauthorized(error: unknown): boolean {
  return error instanceof ApiError && error.kind === 'unauthorized';
}

function narrowed(filter: SightingFilter, more: Record<string, string> = {}): URLSearchParams {
  const query = new URLSearchParams(more);
  if (filter.camera) query.set('camera', filter.camera);
  if (filter.label) query.set('class', filter.label);
  if (filter.colour) query.set('colour', filter.colour);
  if (filter.fromMs !== null) query.set('since', new Date(filter.fromMs).toISOString());
  if (filter.toMs !== null) query.set('until', new Date(filter.toMs).toISOString());
  return query;
}

/** The body as JSON, or null: an error page of a proxy is no JSON, and its status says enough. */
async function readJson(response: Response): Promise<unknown> {
  const body = await response.text();
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}
